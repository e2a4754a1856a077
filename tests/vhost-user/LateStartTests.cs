using Vhost.Abstractions;
using Vhost.Testing.FrontEnd;

namespace Vhost.VhostUser.Tests;

/// <summary>A reactor that comes back when the session whose queue it was to start has ended, and its memory is gone.</summary>
public sealed class LateStartTests
{
    private static readonly TimeSpan Drain = TimeSpan.FromMilliseconds(150);

    [Theory]
    [InlineData(VirtqueueFormat.Split)]
    [InlineData(VirtqueueFormat.Packed)]
    public async Task A_queue_that_its_reactor_comes_to_too_late_costs_its_session_and_nothing_else(VirtqueueFormat format)
    {
        await using var server = await BlkServer.StartAsync(Drain);
        var options = new FrontEndOptions { Format = format };
        await server.HoldAsync();
        using (var memory = new GuestMemory(0, 4 << 20))
        {
            // Whether the front-end sees the refusal of a message or the closed link depends on which message it is about to send.
            Assert.Throws<FrontEndException>(() => FrontEndDevice.Connect(server.Harness.Socket, memory, options));
        }

        await TransportHarness.WaitForAsync(() => server.Harness.Logger.Errors.Any(), "the session ends");
        Assert.Contains("queue 0 did not start in time", Assert.Single(server.Harness.Logger.Errors), StringComparison.Ordinal);
        await TransportHarness.WaitForAsync(() => server.Harness.Registry.RegisteredCount == 0, "the memory is given back");

        // The start was under way all the time: the reactor finds it now.
        server.Turns.Set();
        var turns = server.TurnCount;
        await TransportHarness.WaitForAsync(() => server.TurnCount > turns + 10, "the reactor turns");
        using var next = new GuestMemory(0, 4 << 20);
        using var device = FrontEndDevice.Connect(server.Harness.Socket, next, options);
        var requests = new VirtioBlkRequests(device, 1, 4096);
        Assert.True(requests.Execute(device.RequestQueue(0), 0, isWrite: false, 0, 4096), requests.DescribeResult(0));
        device.Stop();
        Assert.Single(server.Harness.Logger.Errors);
    }
}
