using Vhost.Abstractions;

namespace Vhost.Virtio.Tests;

/// <summary>Kicks and interrupts: as few as asked for, and never one too few.</summary>
public sealed unsafe class NotificationTests
{
    public static TheoryData<VirtqueueFormat, ulong> Rings => new()
    {
        { VirtqueueFormat.Split, 0 },
        { VirtqueueFormat.Split, VirtioFeatures.EventIndex },
        { VirtqueueFormat.Packed, 0 },
        { VirtqueueFormat.Packed, VirtioFeatures.EventIndex },
    };

    [Theory]
    [MemberData(nameof(Rings))]
    public void A_driver_that_polls_is_not_interrupted(VirtqueueFormat format, ulong features)
    {
        using var bench = new Bench(format, 16, features).Start();
        bench.Echo([1], 1, out _);
        // The first results after a start interrupt in any case.
        Assert.Equal(1, bench.Queue.Call.Count);
        for (var i = 0; i < 1000; i++)
        {
            bench.Echo([1], 1, out _);
        }

        Assert.Equal(1, bench.Queue.Call.Count);
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void A_part_of_a_batch_is_seen_before_its_rest_is_done_if_the_device_wants_that(VirtqueueFormat format, ulong features)
    {
        const int Requests = 12;
        using var bench = new Bench(format, 16, features).Start();
        var seen = new List<int>();
        bench.Handler.OnFinished = () =>
        {
            var count = 0;
            while (bench.Driver.TryGetUsed(out _, out _))
            {
                count++;
            }

            seen.Add(count);
        };
        foreach (var isEarly in new[] { false, true, false })
        {
            bench.Handler.FlushesEarly = isEarly;
            seen.Clear();
            var batches = bench.Handler.BatchCount;
            var buffer = bench.Ram.Allocate(16);
            for (var i = 0; i < Requests; i++)
            {
                Assert.True(bench.Driver.TryAdd([new DriverSegment(buffer, 1)], [], (ulong)i));
            }

            bench.Driver.Publish();
            bench.Reactor.TurnUntil(() => seen.Count == Requests);
            Assert.Equal(batches + 1, bench.Handler.BatchCount);

            // Each at once; but the last with the end of the batch, as all do otherwise.
            Assert.Equal(Enumerable.Repeat(isEarly ? 1 : 0, Requests - 1).Append(0), seen);
            var left = 0;
            while (bench.Driver.TryGetUsed(out _, out _))
            {
                left++;
            }

            Assert.Equal(isEarly ? 1 : Requests, left);
        }

        Assert.Equal(0, bench.Handler.Queue!.UnderWayCount);
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void A_driver_that_sleeps_is_interrupted_at_the_end_of_a_batch_whose_parts_are_shown_early(VirtqueueFormat format, ulong features)
    {
        const int Requests = 12;
        using var bench = new Bench(format, 16, features).Start();
        bench.Handler.FlushesEarly = true;
        var during = new List<int>();
        bench.Handler.OnFinished = () =>
        {
            during.Add(bench.Queue.Call.Count);
            // All but the last, or only the first: then nothing is left for the end of the batch but the interrupt.
            bench.Handler.KeepsRequests = bench.Handler.HandledCount > Requests;
        };
        for (var round = 0; round < 2; round++)
        {
            var buffer = bench.Ram.Allocate(16);
            for (var i = 0; i < Requests; i++)
            {
                Assert.True(bench.Driver.TryAdd([new DriverSegment(buffer, 1)], [], (ulong)i));
            }

            Assert.True(bench.Driver.TryEnableInterrupts());
            during.Clear();
            var before = bench.Queue.Call.Count;
            bench.Driver.Publish();
            bench.Reactor.TurnUntil(() => bench.Queue.Call.Count > before);
            Assert.Equal(before + 1, bench.Queue.Call.Count);
            Assert.Equal(Enumerable.Repeat(before, round == 0 ? Requests : 1), during);
            var answered = 0;
            while (bench.Driver.TryGetUsed(out _, out _))
            {
                answered++;
            }

            Assert.Equal(during.Count, answered);
        }

        Assert.Equal(Requests - 1, bench.Handler.KeptCount);
        bench.Reactor.Invoke(() => bench.Handler.Release([.. Enumerable.Range(0, Requests - 1)]));
        Assert.Equal(0, bench.Handler.Queue!.UnderWayCount);
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void A_driver_that_asks_is_interrupted_once_a_batch_and_with_event_indexes_once(VirtqueueFormat format, ulong features)
    {
        using var bench = new Bench(format, 16, features);
        bench.Handler.KeepsRequests = true;
        bench.Start();
        var buffer = bench.Ram.Allocate(16);
        for (var round = 0; round < 50; round++)
        {
            Assert.True(bench.Driver.TryEnableInterrupts());
            for (var i = 0; i < 12; i++)
            {
                Assert.True(bench.Driver.TryAdd([new DriverSegment(buffer, 1)], [], (ulong)i));
            }

            bench.Driver.Publish();
            bench.Reactor.Turn();
            var before = bench.Queue.Call.Count;
            // Three batches: of four, one and seven.
            bench.Reactor.Invoke(() => bench.Handler.Release(0, 1, 2, 3));
            Assert.Equal(before + 1, bench.Queue.Call.Count);
            bench.Reactor.Invoke(() => bench.Handler.Release(0));
            bench.Reactor.Invoke(() => bench.Handler.Release(0, 1, 2, 3, 4, 5, 6));
            Assert.Equal(before + (features == 0 ? 3 : 1), bench.Queue.Call.Count);
            for (var i = 0; i < 12; i++)
            {
                Assert.True(bench.Driver.TryGetUsed(out _, out _));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void A_device_that_polls_is_not_kicked_and_one_that_sleeps_is_kicked(VirtqueueFormat format, ulong features)
    {
        using var bench = new Bench(format, 16, features).Start();
        var buffer = bench.Ram.Allocate(16);
        bench.Reactor.ArmsIdlePollers = false;
        bench.Reactor.Turn();
        bool Send()
        {
            Assert.True(bench.Driver.TryAdd([new DriverSegment(buffer, 1)], [], 1));
            return bench.Driver.Publish();
        }

        void Reap() => bench.Reactor.TurnUntil(() => bench.Driver.TryGetUsed(out _, out _));
        for (var i = 0; i < 300; i++)
        {
            // At the very beginning an event index of 0 asks for a kick.
            Assert.Equal(i == 0 && features != 0 && format == VirtqueueFormat.Split, Send());
            Reap();
        }

        for (var i = 0; i < 300; i++)
        {
            bench.Reactor.Invoke(() => Assert.True(bench.Handler.Queue!.TryArm()));
            Assert.True(Send());
            // With event indexes the second one is not a kick, because the first was; without, the device has to say so.
            Assert.Equal(features == 0, Send());
            bench.Reactor.Invoke(() => Assert.False(bench.Handler.Queue!.TryArm()));
            Reap();
            Reap();
        }
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void No_wake_up_is_lost(VirtqueueFormat format, ulong features) => Assert.Null(PingPong(format, features, isBroken: false));

    [Fact]
    public void A_driver_that_looks_before_it_publishes_loses_wake_ups() =>
        // The control of the test above: the same loop with the order of two steps exchanged is caught.
        Assert.NotNull(PingPong(VirtqueueFormat.Split, 0, isBroken: true));

    /// <summary>Two threads, each of which sleeps when it has nothing to do and relies on the other one to wake it.</summary>
    /// <returns>What went wrong, or null.</returns>
    private static string? PingPong(VirtqueueFormat format, ulong features, bool isBroken)
    {
        const int Rounds = 20_000;
        using var bench = new Bench(format, 16, features);
        bench.Handler.Records = false;
        // As an eventfd that is drained by its reader: however often it was signalled, it wakes once.
        using var kick = new AutoResetEvent(false);
        using var call = new AutoResetEvent(false);
        using var gate = new AutoResetEvent(false);
        bench.Start();
        var queue = bench.Handler.Queue!;
        var limit = TimeSpan.FromSeconds(isBroken ? 0.5 : 60);
        using var stop = new CancellationTokenSource();
        var callCount = bench.Queue.Call.Count;
        string? deviceFault = null;
        var device = new Thread(() =>
        {
            try
            {
                queue.Disarm();
                while (!stop.IsCancellationRequested)
                {
                    while (queue.Poll() != 0)
                    {
                        if (bench.Queue.Call.Count != callCount)
                        {
                            callCount = bench.Queue.Call.Count;
                            call.Set();
                        }
                    }

                    if (isBroken)
                    {
                        gate.WaitOne();
                    }

                    if (queue.TryArm())
                    {
                        kick.WaitOne();
                        queue.Disarm();
                    }
                }
            }
            catch (Exception exception)
            {
                deviceFault = exception.ToString();
            }
        });
        device.Start();
        string? fault = null;
        var buffer = bench.Ram.Allocate(16);
        for (var round = 0; round < Rounds && fault == null; round++)
        {
            bench.Driver.TryAdd([new DriverSegment(buffer, 1)], [], (ulong)round);
            bool wantsKick;
            if (isBroken)
            {
                // The device is awake, so no kick seems to be needed; then it goes to sleep; then the request is published.
                SpinWait.SpinUntil(() => IsDeviceAwake(bench), TimeSpan.FromSeconds(60));
                wantsKick = !IsDeviceAwake(bench);
                gate.Set();
                SpinWait.SpinUntil(() => !IsDeviceAwake(bench), TimeSpan.FromSeconds(60));
                bench.Driver.Publish();
            }
            else
            {
                wantsKick = bench.Driver.Publish();
            }

            if (wantsKick)
            {
                kick.Set();
            }

            var isDone = false;
            while (!isDone && fault == null)
            {
                for (var spin = 0; spin < 2000 && !isDone; spin++)
                {
                    // Half of the rounds meet a device that is still awake.
                    isDone = bench.Driver.TryGetUsed(out _, out _);
                }

                if (!isDone && bench.Driver.TryEnableInterrupts() && !call.WaitOne(limit))
                {
                    fault = $"round {round}: nobody woke anybody";
                }

                bench.Driver.DisableInterrupts();
            }
        }

        stop.Cancel();
        gate.Set();
        kick.Set();
        Assert.True(device.Join(TimeSpan.FromSeconds(60)));
        Assert.Null(deviceFault);
        return fault;
    }

    private static bool IsDeviceAwake(Bench bench) => (Volatile.Read(ref *(ushort*)bench.Queue.Memory.Device) & RingLayout.FlagSuppress) != 0;
}
