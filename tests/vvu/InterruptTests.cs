using System.Text.Json.Nodes;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;
using Vhost.VfioUser;
using Vhost.VhostUser;

namespace Vhost.Vvu.Tests;

/// <summary>How a queue is woken, and how often anybody is: by MSI-X, by a line, by nothing at all; and a device that takes no replies.</summary>
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

    [Theory]
    [InlineData("capabilities", false)]
    [InlineData("fixed", true)]
    public async Task Without_any_interrupt_everything_is_polled_for_and_idle_polling_is_bounded(string layout, bool isPublished)
    {
        // A device without a pin; the client is told of no MSI-X either.
        Altered? altered = null;
        await using var harness = new VvuHarness(layout, isPublished: isPublished, hasLine: false, replace: device => altered = new Altered(device) { Interrupts = "none" });
        var manifest = new JsonObject
        {
            ["bdevs"] = new JsonObject { ["Malloc0"] = new JsonObject { ["type"] = "malloc", ["sizeMiB"] = 8, ["blockSize"] = 512 } },
            ["transports"] = new JsonObject { ["a"] = new JsonObject { ["type"] = "vvu", ["address"] = harness.VfioUserSocket } },
            ["controllers"] = new JsonObject
            {
                ["vhost.0"] = new JsonObject { ["type"] = "scsi", ["transport"] = "a", ["targets"] = new JsonObject { ["0"] = "Malloc0" } },
            },
        };
        using var vhostd = VhostdProcess.Start(Path.GetDirectoryName(harness.VfioUserSocket)!, manifest);
        vhostd.WaitForLine("kicks are polled for");
        for (var session = 0; session < 2; session++)
        {
            using var device = harness.Connect(isScsi: true);
            var requests = new VirtioScsiRequests(device, 2, BlockBytes);
            for (var round = 0; round < 2; round++)
            {
                requests.Data(0).Span.Fill((byte)(0x31 + session + (2 * round)));
                Assert.True(requests.Execute(device.RequestQueue(0), 0, isWrite: true, 0, BlockBytes), requests.DescribeResult(0));
                Assert.True(requests.Execute(device.RequestQueue(0), 1, isWrite: false, 0, BlockBytes), requests.DescribeResult(1));
                Assert.Equal(-1, requests.Data(1).Span.IndexOfAnyExcept((byte)(0x31 + session + (2 * round))));
                await CountIdle(altered!, vhostd.Process.Id);
            }
        }

        Assert.Equal(0, vhostd.Stop());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task A_device_that_takes_no_replies_is_named_and_no_reply_lost_in_silence(bool isPublished) => WithAltered(isPublished, async (harness, altered) =>
    {
        using FrontEndConnection connection = AskInVain(harness, altered, FrontEndRequest.GetFeatures, 200);
        await VvuHarness.WaitForAsync(() => harness.Logger.Errors.Any(line => line.Contains("takes no replies", StringComparison.Ordinal)), "the error");
        await WaitForReset(harness);
        altered.IgnoresSent = false;
        connection.TimeoutMilliseconds = 60_000;
        connection.WaitClosed();
    });

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task Replies_that_the_device_did_not_take_never_reach_the_next_master(bool isPublished) => WithAltered(isPublished, async (harness, altered) =>
    {
        using (AskInVain(harness, altered, FrontEndRequest.GetQueueNum, 20))
        {
            // With EVENT_IDX the device is told of the first one only. Some are in the queue, and their reader leaves.
            await VvuHarness.WaitForAsync(() => altered.IgnoredCount > 0, "the replies");
        }

        await WaitForReset(harness);
        altered.IgnoresSent = false;
    });

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task Replies_that_the_device_takes_late_do_not_reach_a_master_that_waits_already(bool isPublished) => WithAltered(isPublished, async (harness, altered) =>
    {
        using (AskInVain(harness, altered, FrontEndRequest.GetQueueNum, 1))
        {
            await VvuHarness.WaitForAsync(() => altered.IgnoredCount > 0, "the reply");
        }

        using var next = harness.ConnectRaw();
        await VvuHarness.WaitForAsync(() => harness.DeviceLines.Count(line => line.Contains("has connected", StringComparison.Ordinal)) == 2, "the next one");

        altered.Recover();
        next.TimeoutMilliseconds = 60_000;
        try
        {
            next.AskNumber(FrontEndRequest.GetFeatures);
            Assert.NotEqual(0ul, next.AskNumber(FrontEndRequest.GetQueueNum));
        }
        catch (Exception exception) when (exception is FrontEndException { IsClosed: true } or LinuxException { Error: Errno.EPIPE or Errno.ECONNRESET })
        {
            // This machine was so slow that the device was reset for it, which ends every connection with full forwarding: never for another reason.
            Assert.Contains(harness.Logger.Errors, line => line.EndsWith("the device is reset", StringComparison.Ordinal));
        }
    });

    // Whatever became of the device meanwhile, the next master is served.
    private static async Task WithAltered(bool isPublished, Func<VvuHarness, Altered, Task> test)
    {
        Altered? altered = null;
        await using var harness = new VvuHarness(isPublished: isPublished, replace: device => altered = new Altered(device));
        await harness.Transport.StartAsync(harness.Device, CancellationToken.None);
        await test(harness, altered!);
        using var next = harness.Connect(isScsi: true);
        Assert.Equal(16384u, new VirtioScsiRequests(next, 1, BlockBytes).BlockCount);
    }

    // A connection that works, and then questions to which the device takes no answers.
    private static FrontEndConnection AskInVain(VvuHarness harness, Altered altered, FrontEndRequest request, int count)
    {
        var connection = harness.ConnectRaw();
        connection.AskNumber(FrontEndRequest.GetFeatures);
        altered.IgnoresSent = true;
        for (var i = 0; i < count; i++)
        {
            connection.Send(request, []);
        }

        return connection;
    }

    private static Task WaitForReset(VvuHarness harness) =>
        VvuHarness.WaitForAsync(() => harness.Logger.Errors.Any(line => line.EndsWith("the device is reset", StringComparison.Ordinal)), "the device to be reset");

    // Counts, not times: the slower this machine is, the fewer there are.
    private static async Task CountIdle(Altered altered, int process)
    {
        const int Slack = 100;
        var start = Environment.TickCount64;
        var accesses = altered.Accesses;
        var sleeps = ProcessorUse.Sleeps(process, "vvu a");
        var idle = await ProcessorUse.WaitForIdleAsync(process);
        sleeps = ProcessorUse.Sleeps(process, "vvu a") - sleeps;
        accesses = altered.Accesses - accesses;
        var passed = Environment.TickCount64 - start;
        TestContext.Current.TestOutputHelper?.WriteLine($"idle without interrupts: {passed} ms, {accesses} accesses to registers, {sleeps} sleeps of the transport's thread, {idle}");

        // Each 100 ms two registers, one of them with the generation before and after it; a look at memory each 10 ms.
        Assert.InRange(accesses, 1, (passed / 20) + Slack);
        Assert.InRange(sleeps, 1, (passed / 5) + (2 * Slack));
    }

    /// <summary>The device with some interrupts only, or deaf to what is sent.</summary>
    private sealed class Altered(IVfioUserDevice device) : IVfioUserDevice
    {
        private const ulong SendNotification = 0x3004;

        public string Interrupts { get; init; } = "MSI-X";

        public volatile bool IgnoresSent;

        private int _ignoredCount;
        private int _accesses;

        public int IgnoredCount => Volatile.Read(ref _ignoredCount);

        public int Accesses => Volatile.Read(ref _accesses);

        /// <summary>Takes what was sent meanwhile, and all that comes.</summary>
        public void Recover()
        {
            IgnoresSent = false;
            device.WriteRegion(4, SendNotification, [1, 0]);
        }

        public VfioUserRegion GetRegion(int index) => device.GetRegion(index);

        public VfioUserIrq GetIrq(int index) => (index, Interrupts) switch
        {
            (VfioUserIrqs.Msix, not "MSI-X") or (_, "none") => default,
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
            Interlocked.Increment(ref _accesses);
            if (IgnoresSent && (region, offset) == (4, SendNotification))
            {
                Interlocked.Increment(ref _ignoredCount);
                return;
            }

            device.WriteRegion(region, offset, source);
        }

        public void ReadRegion(int region, ulong offset, Span<byte> destination)
        {
            Interlocked.Increment(ref _accesses);
            device.ReadRegion(region, offset, destination);
        }
    }
}
