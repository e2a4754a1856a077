using Vhost.Testing.FrontEnd;
using Vhost.VfioUser;
using Vhost.VhostUser;

namespace Vhost.Vvu.Tests;

/// <summary>How a queue is woken, and how often anybody is: by MSI-X or by a line; and a device that takes no replies.</summary>
public sealed class InterruptTests
{
    private const int BlockBytes = 4096;

    [Theory]
    [InlineData("MSI-X", false)]
    [InlineData("MSI-X", true)]
    [InlineData("INTx", false)]
    [InlineData("INTx", true)]
    public async Task An_idle_queue_sleeps_until_its_kick_comes_as_an_interrupt(string interrupts, bool isPublished)
    {
        await using var harness = new VvuHarness(isPublished: isPublished, replace: device => new Altered(device) { Interrupts = interrupts });
        await harness.Transport.StartAsync(harness.Device, CancellationToken.None);
        Assert.Contains(harness.Logger.Lines, line => line.Text.EndsWith($"kicks by {interrupts}", StringComparison.Ordinal));
        using var device = harness.Connect(isScsi: true);
        var requests = new VirtioScsiRequests(device, 1, BlockBytes);
        var queue = device.RequestQueue(0);
        harness.TakeReactor();
        try
        {
            for (var round = 0; round < 20; round++)
            {
                // Asleep: however often it is looked at, there is nothing to do, and the driver is asked for a kick.
                harness.Reactor.TurnUntil(() => harness.Reactor.IsAsleep, TimeSpan.FromSeconds(60));
                if (interrupts == "MSI-X")
                {
                    Assert.Equal(0, Enumerable.Range(0, 1000).Sum(_ => harness.Reactor.Turn()));
                    Assert.True(harness.Reactor.IsAsleep);
                }

                var kicks = queue.KickCount;
                Assert.True(requests.TryAdd(queue.Ring, 0, isWrite: true, 0, BlockBytes));
                queue.Publish();
                Assert.Equal(kicks + 1, queue.KickCount);
                harness.Reactor.TurnUntil(() => queue.Ring.HasUsed, TimeSpan.FromSeconds(60));
                Assert.True(queue.Ring.TryGetUsed(out _, out _) && requests.IsSuccess(0), requests.DescribeResult(0));
            }
        }
        finally
        {
            harness.GiveReactor();
        }
    }

    [Fact]
    public async Task A_batch_of_requests_rings_one_doorbell()
    {
        const int Depth = 16;
        await using var harness = await VvuHarness.StartAsync(isBlk: true);
        harness.Port.IsNull = true;
        using var device = harness.Connect(isScsi: false);
        var requests = new VirtioBlkRequests(device, Depth, BlockBytes);
        var queue = device.RequestQueue(0);
        harness.TakeReactor();
        try
        {
            Assert.True(queue.Ring.TryEnableInterrupts());
            for (var slot = 0; slot < Depth; slot++)
            {
                Assert.True(requests.TryAdd(queue.Ring, slot, isWrite: false, 0, BlockBytes));
            }

            queue.Call.Drain();
            queue.Publish();
            var done = 0;
            harness.Reactor.TurnUntil(
                () =>
                {
                    while (queue.Ring.TryGetUsed(out _, out _))
                    {
                        done++;
                    }

                    return done == Depth;
                },
                TimeSpan.FromSeconds(60));
            Assert.True(queue.WaitForInterrupt(60_000), "no interrupt came");

            // A second one would have come by now: this message went through the same device.
            device.ReadConfig(8);
            Assert.False(queue.WaitForInterrupt(0), "more than one interrupt came");
        }
        finally
        {
            harness.GiveReactor();
        }
    }

    [Fact]
    public async Task A_device_that_takes_no_replies_is_named_and_no_reply_lost_in_silence()
    {
        Altered? altered = null;
        await using var harness = new VvuHarness(isPublished: true, replace: device => altered = new Altered(device));
        await harness.Transport.StartAsync(harness.Device, CancellationToken.None);
        using (var connection = harness.ConnectRaw())
        {
            connection.AskNumber(FrontEndRequest.GetFeatures);
            altered!.IgnoresSent = true;
            for (var i = 0; i < 200; i++)
            {
                connection.Send(FrontEndRequest.GetFeatures, []);
            }

            await VvuHarness.WaitForAsync(() => harness.Logger.Errors.Any(line => line.Contains("takes no replies", StringComparison.Ordinal)), "the error");
            altered.IgnoresSent = false;
            connection.TimeoutMilliseconds = 60_000;
            connection.WaitClosed();
        }

        await VvuHarness.WaitForAsync(() => harness.Transport.Status == "waiting for the other VM", "the transport to come back");
        using var next = harness.Connect(isScsi: true);
        Assert.Equal(16384u, new VirtioScsiRequests(next, 1, BlockBytes).BlockCount);
    }

    /// <summary>The device with some interrupts only, or deaf to what is sent.</summary>
    private sealed class Altered(IVfioUserDevice device) : IVfioUserDevice
    {
        private const ulong SendNotification = 0x3004;

        public string Interrupts { get; init; } = "MSI-X";

        public volatile bool IgnoresSent;

        public VfioUserRegion GetRegion(int index) => device.GetRegion(index);

        public VfioUserIrq GetIrq(int index) => (index, Interrupts) switch
        {
            (VfioUserIrqs.Msix, not "MSI-X") => default,
            _ => device.GetIrq(index),
        };

        public void OnConnected(VfioUserSession session) => device.OnConnected(session);

        public void OnDisconnected(string reason) => device.OnDisconnected(reason);

        public void OnDmaMapped(VfioUserDmaRegion region) => device.OnDmaMapped(region);

        public void OnDmaUnmapped(VfioUserDmaRegion region) => device.OnDmaUnmapped(region);

        public void OnIrqsChanged(int irqIndex) => device.OnIrqsChanged(irqIndex);

        public void Reset() => device.Reset();

        public void WriteRegion(int region, ulong offset, ReadOnlySpan<byte> source)
        {
            if (!IgnoresSent || (region, offset) != (4, SendNotification))
            {
                device.WriteRegion(region, offset, source);
            }
        }

        public void ReadRegion(int region, ulong offset, Span<byte> destination) => device.ReadRegion(region, offset, destination);
    }
}
