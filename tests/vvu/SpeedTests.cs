using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.Plugins.VhostUserTransport;
using Vhost.Testing.FrontEnd;
using Vhost.VfioUser;
using Vhost.Virtio;

namespace Vhost.Vvu.Tests;

/// <summary>What a request costs over the link, beside the same over a unix socket: the same device, reactor and requests. Times are reported, allocations asserted.</summary>
public sealed class SpeedTests
{
    private const int BlockBytes = 4096;
    private const int WarmUp = 300_000;
    private const int ChunkRequests = 10_000;
    private const int Chunks = 40;

    [Theory]
    [InlineData(1, false)]
    [InlineData(32, false)]
    [InlineData(1, true)]
    public async Task A_request_costs_as_much_as_over_a_unix_socket_but_for_the_doorbell(int depth, bool hasInterrupts)
    {
        await using var harness = await VvuHarness.StartAsync(isBlk: true);
        harness.Port.IsNull = true;

        // It polls for ever: kicks cost the same over both.
        harness.Reactor.ArmsIdlePollers = false;
        Result vvu;
        using (var device = Connect(harness.VhostUserSocket, harness.Memory, hasInterrupts))
        {
            vvu = Measure(device, depth, hasInterrupts, harness);
        }

        await harness.Transport.DisposeAsync();
        ITransportFactory factory = new VhostUserTransportFactory();
        var socket = harness.VhostUserSocket + "-direct";
        var transport = factory.Create(harness.Context, new VhostUserTransportOptions { Socket = socket });
        Result direct;
        await transport.StartAsync(harness.Device, CancellationToken.None);
        await using (transport)
        {
            using var device = Connect(socket, harness.Memory, hasInterrupts);
            direct = Measure(device, depth, hasInterrupts, harness);
        }

        TestContext.Current.TestOutputHelper?.WriteLine(
            $"4 KiB reads, depth {depth}, {(hasInterrupts ? "an interrupt for each" : "no interrupts")}: vvu {vvu.Nanoseconds:F0} ns/request, unix socket {direct.Nanoseconds:F0} ns/request "
            + $"(best of {Chunks} x {ChunkRequests}, driver and reactor on one thread); {vvu.ThreadBytes} and {direct.ThreadBytes} bytes allocated");
        // Not a byte for a request; the runtime itself may take a few, once.
        Assert.InRange(vvu.ThreadBytes, 0, 1000);
        Assert.True(!harness.Logger.Errors.Any(), harness.AllLines());
    }

    [Fact]
    public async Task What_is_not_mapped_costs_a_message()
    {
        await using var harness = new VvuHarness();
        using var client = VfioUserClient.Connect(harness.VfioUserSocket);
        var data = new byte[8];
        var best = TimeSpan.MaxValue;
        for (var i = 0; i < 2000; i++)
        {
            var start = Stopwatch.GetTimestamp();
            client.ReadRegion(2, 1 << 30, data);
            var elapsed = Stopwatch.GetElapsedTime(start);
            best = elapsed < best ? elapsed : best;
        }

        TestContext.Current.TestOutputHelper?.WriteLine($"a trapped read of 8 bytes: {best.TotalNanoseconds:F0} ns (best of 2000)");
        Assert.Equal(new byte[8], data);
    }

    private static FrontEndDevice Connect(string socket, GuestMemory memory, bool hasInterrupts) => FrontEndDevice.Connect(socket, memory, new FrontEndOptions
    {
        QueueSize = 256, HasInterrupts = hasInterrupts, Features = VirtioFeatures.EventIndex,
    });

    // One thread plays both, so that the figure is work and not the weather between two cores.
    private static Result Measure(FrontEndDevice device, int depth, bool hasInterrupts, VvuHarness harness)
    {
        var requests = new VirtioBlkRequests(device, depth, BlockBytes);
        var queue = device.RequestQueue(0);
        harness.TakeReactor();
        try
        {
            Run(queue, requests, depth, hasInterrupts, harness, WarmUp);
            var leastBytes = long.MaxValue;
            var best = TimeSpan.MaxValue;
            for (var i = 0; i < Chunks; i++)
            {
                var bytes = GC.GetAllocatedBytesForCurrentThread();
                var start = Stopwatch.GetTimestamp();
                Run(queue, requests, depth, hasInterrupts, harness, ChunkRequests);
                var elapsed = Stopwatch.GetElapsedTime(start);
                best = elapsed < best ? elapsed : best;
                leastBytes = Math.Min(leastBytes, GC.GetAllocatedBytesForCurrentThread() - bytes);
            }

            // What requests allocate they allocate in each chunk; what the runtime allocates for its own sake, in one.
            return new(best.TotalNanoseconds / ChunkRequests, leastBytes * Chunks);
        }
        finally
        {
            harness.GiveReactor();
        }
    }

    private static void Run(FrontEndQueue queue, VirtioBlkRequests requests, int depth, bool hasInterrupts, VvuHarness harness, int count)
    {
        for (var done = 0; done < count;)
        {
            for (var slot = 0; slot < depth; slot++)
            {
                if (!requests.TryAdd(queue.Ring, slot, isWrite: false, (ulong)slot * 8, BlockBytes))
                {
                    Assert.Fail("the queue is full");
                }
            }

            queue.Publish();
            if (hasInterrupts)
            {
                queue.Ring.TryEnableInterrupts();
            }

            for (var left = depth; left > 0;)
            {
                harness.Reactor.Turn();
                while (queue.Ring.TryGetUsed(out _, out _))
                {
                    left--;
                    done++;
                }
            }
        }
    }

    private readonly record struct Result(double Nanoseconds, long ThreadBytes);
}
