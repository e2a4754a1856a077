using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.Virtio.Tests;

/// <summary>Interrupts that wait for more completions: fewer of them, none lost, and none where it is off.</summary>
public sealed class CoalescingTests
{
    [Theory]
    [InlineData(1000.0, 0)]
    [InlineData(10_000.0, 0)]
    [InlineData(20_000.0, 50)]
    [InlineData(40_000.0, 150)]
    [InlineData(1e9, 10_000)]
    public void The_delay_grows_with_the_rate(double rate, int microseconds)
    {
        var coalescing = new CallCoalescing();
        coalescing.Set(TimeSpan.FromMicroseconds(50), 10_000);
        Assert.Equal(microseconds * (Stopwatch.Frequency / 1_000_000), coalescing.Current!.GetDelayTicks(rate));
        coalescing.Set(TimeSpan.Zero, 1);
        Assert.Null(coalescing.Current);
    }

    [Theory]
    [InlineData(VirtqueueFormat.Split, 0)]
    [InlineData(VirtqueueFormat.Packed, 0)]
    [InlineData(VirtqueueFormat.Split, VirtioFeatures.EventIndex)]
    [InlineData(VirtqueueFormat.Packed, VirtioFeatures.EventIndex)]
    public void A_busy_queue_interrupts_less_often_and_the_last_completion_is_told(VirtqueueFormat format, ulong features)
    {
        using var bench = new Bench(format, 16, features).Start();
        const int Requests = 20_000;
        Run(bench, 100);
        var before = bench.Queue.Call.Count;
        Run(bench, Requests);
        Assert.Equal(Requests, bench.Queue.Call.Count - before);

        // With a threshold of one request a second every rate is above it, so each interrupt waits as long as one may.
        bench.Coalescing.Set(TimeSpan.FromMilliseconds(100), 1);
        RunUntilOneWaits(bench);
        var delayed = bench.Session.Status.Queues[0].DelayedCallCount;
        before = bench.Queue.Call.Count;
        var requests = 0;
        do
        {
            // A fast machine may be through with so many while one interrupt waits.
            Run(bench, Requests);
            requests += Requests;
        }
        while (bench.Queue.Call.Count == before && requests < 1000 * Requests);

        // At most two for each that waits: that one, and the one after which the next begins to wait.
        Assert.InRange(bench.Queue.Call.Count - before, 1, (2 * (bench.Session.Status.Queues[0].DelayedCallCount - delayed)) + 2);
        Assert.InRange(bench.Queue.Call.Count - before, 1, requests - 1);

        // One waits still. The queue does not sleep on it.
        var waiting = bench.Queue.Call.Count;
        Assert.True(bench.Driver.TryEnableInterrupts());
        bench.Echo([1], 1, out _);
        bench.Reactor.TurnUntil(() => bench.Queue.Call.Count > waiting);
        // That was the one that waited, or both together; in the end none waits.
        bench.Reactor.TurnUntil(() => bench.Reactor.IsAsleep);

        bench.Coalescing.Set(TimeSpan.Zero, 1);
        before = bench.Queue.Call.Count;
        Run(bench, 100);
        Assert.Equal(100, bench.Queue.Call.Count - before);
    }

    [Fact]
    public void What_waits_is_told_when_the_queue_stops()
    {
        using var bench = new Bench().Start();
        bench.Coalescing.Set(TimeSpan.FromMilliseconds(100), 1);
        RunUntilOneWaits(bench);

        Assert.True(bench.Driver.TryEnableInterrupts());
        var before = bench.Queue.Call.Count;
        bench.Echo([1], 1, out _);
        bench.Stop();
        Assert.InRange(bench.Queue.Call.Count - before, 1, 2);
    }

    [Theory]
    [InlineData(VirtqueueFormat.Split)]
    [InlineData(VirtqueueFormat.Packed)]
    public void A_queue_moves_to_another_reactor_and_loses_nothing(VirtqueueFormat format)
    {
        using var bench = new Bench(format, 16);
        bench.Handler.KeepsRequests = true;
        bench.Start();
        var other = new ManualReactor(1);
        var buffer = bench.Ram.Allocate(16);
        for (var i = 0; i < 3; i++)
        {
            Assert.True(bench.Driver.TryAdd([new DriverSegment(buffer, 1)], [], (ulong)i));
        }

        bench.Driver.Publish();
        bench.Reactor.Turn();
        var first = bench.Handler;
        Assert.Equal(3, first.KeptCount);

        // It waits for what is under way, and goes on where it is when that takes too long.
        using (var limit = new CancellationTokenSource(TimeSpan.FromMilliseconds(50)))
        {
            var tooLong = bench.Session.MoveAsync([other], limit.Token).AsTask();
            TurnBoth(bench, other, tooLong);
            Assert.IsType<TimeoutException>(tooLong.Exception!.InnerException);
        }

        Assert.Equal(0, bench.Session.Status.Queues[0].ReactorId);
        Assert.True(bench.Driver.TryAdd([new DriverSegment(buffer, 1)], [], 3));
        bench.Driver.Publish();
        bench.Reactor.TurnUntil(() => first.KeptCount == 4);

        var move = bench.Session.MoveAsync([other], TestContext.Current.CancellationToken).AsTask();
        bench.Reactor.TurnUntilIdle();
        Assert.True(bench.Driver.TryAdd([new DriverSegment(buffer, 1)], [], 4));
        bench.Driver.Publish();
        bench.Reactor.TurnUntilIdle();
        Assert.Equal(4, first.KeptCount);
        Assert.False(move.IsCompleted);
        bench.Reactor.Invoke(() => first.Release(0, 1, 2, 3));
        TurnBoth(bench, other, move);
        Assert.True(move.IsCompletedSuccessfully);
        Assert.Equal((1, 1), (bench.Session.Status.Queues[0].ReactorId, first.DetachCount));
        Assert.Equal((0, 1), (bench.Reactor.PollerCount, other.PollerCount));

        // What the driver put there meanwhile is taken on the other reactor, each request once.
        other.TurnUntil(() => bench.Handler.KeptCount == 1);
        other.Invoke(() => bench.Handler.Release(0));
        var seen = new List<ulong>();
        while (bench.Driver.TryGetUsed(out var token, out _))
        {
            seen.Add(token);
        }

        Assert.Equal<ulong>([0UL, 1, 2, 3, 4], [.. seen.Order()]);
        var back = bench.Session.MoveAsync([bench.Reactor], TestContext.Current.CancellationToken).AsTask();
        TurnBoth(bench, other, back);
        Assert.Equal(0, bench.Session.Status.Queues[0].ReactorId);
    }

    private static void TurnBoth(Bench bench, ManualReactor other, Task task)
    {
        var end = Stopwatch.StartNew();
        while (!task.IsCompleted && end.Elapsed < TimeSpan.FromSeconds(60))
        {
            bench.Reactor.Turn();
            other.Turn();
            Thread.Yield();
        }

        Assert.True(task.IsCompleted);
    }

    private static void RunUntilOneWaits(Bench bench)
    {
        for (var end = Stopwatch.StartNew(); bench.Session.Status.Queues[0].DelayedCallCount == 0;)
        {
            Assert.True(end.Elapsed < TimeSpan.FromSeconds(60), "no interrupt waits");
            Run(bench, 10);
        }
    }

    private static void Run(Bench bench, int requests)
    {
        for (var i = 0; i < requests; i++)
        {
            Assert.True(bench.Driver.TryEnableInterrupts());
            bench.Echo([1], 1, out _);
        }
    }
}
