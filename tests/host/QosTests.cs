using System.Diagnostics;
using CsCheck;
using Vhost.Abstractions;
using Vhost.Host.Bdevs;
using Vhost.Testing;

namespace Vhost.Host.Tests;

/// <summary>Limits, on a clock that the tests set.</summary>
public sealed class QosTests : IDisposable
{
    private const long Second = 1_000_000_000;
    private const long Millisecond = Second / 1000;

    private readonly TestLog _log = new();
    private readonly SteppedReactor _reactor = new();
    private readonly BdevRegistry _registry;
    private readonly RequestArena _arena = new(256);
    private readonly FaultyBdev _bdev = new("b", 4096, BlockOperations.Read | BlockOperations.Write) { CompletesAtOnce = true };
    private readonly SourcePublisher _publisher;

    public QosTests()
    {
        // The clock of the tests ticks as the real one does.
        Assert.Equal(Second, Stopwatch.Frequency);
        _registry = new BdevRegistry(_log) { DrainLimit = TimeSpan.FromMilliseconds(100) };
        _publisher = _registry.CreatePublisher("source", new BdevDeclaration { PublishedNames = ["b"] });
        _publisher.Publish(_bdev);
    }

    private BdevPort Port => _registry.GetPort("b");

    public void Dispose() => _arena.Dispose();

    /// <summary>Whatever the limit, the number of channels and the sizes: over a window no more than the limit passes, and hardly less.</summary>
    [Fact]
    public void The_limit_holds_over_any_window_and_is_used_up() =>
        Gen.Select(Gen.Int[1, 6], Gen.ULong[50, 400_000], Gen.ULong[1, 4_000], Gen.UInt[1, 64], Gen.Int[0, 3]).Sample(
            (channels, ios, mbytes, blocks, kind) =>
            {
                var limits = kind switch
                {
                    0 => new QosLimits(ios),
                    1 => new QosLimits(0, mbytes),
                    2 => new QosLimits(0, 0, mbytes),
                    _ => new QosLimits(ios, mbytes, 0, mbytes),
                };
                var bytes = blocks * 4096UL;
                var done = Run(limits, [.. Enumerable.Repeat(100_000, channels)], bytes, isWrite: kind == 3, seconds: 2);
                var perSecond = Math.Min(
                    limits.ReadWriteIosPerSec == 0 ? double.MaxValue : limits.ReadWriteIosPerSec,
                    limits is { ReadWriteMbytesPerSec: 0, ReadMbytesPerSec: 0, WriteMbytesPerSec: 0 } ? double.MaxValue : mbytes * (double)(1 << 20) / bytes);
                // A request of each channel may be begun beyond the limit; it is paid for afterwards.
                Assert.InRange(done.Sum(), (perSecond * 2 * 0.9) - channels - 1, (perSecond * 2 * 1.05) + (2 * channels) + 1);
            },
            iter: 60,
            threads: 1);

    [Fact]
    public void A_greedy_channel_takes_nothing_from_a_modest_one_and_uses_what_that_leaves()
    {
        var done = Run(new QosLimits(10_000), [100_000, 1, 100_000], 4096, isWrite: false, seconds: 2);
        // One request a millisecond is less than its share of 3333 a second: it gets all of them, and the others the rest, evenly.
        Assert.InRange(done[1], 1900, 2000);
        Assert.InRange(done[0], 8000, 10_000);
        Assert.InRange(done[2], 8000, 10_000);
        Assert.InRange(done.Sum(), 18_000, 21_000);
    }

    [Fact]
    public void A_channel_that_is_idle_leaves_its_share_and_gets_it_back()
    {
        var limiter = new QosLimiter(new QosLimits(1000), Second);
        var now = Second;
        var first = new QosShare(limiter, now);
        var second = new QosShare(limiter, now);
        first.Demand(now);
        second.Demand(now);
        Assert.Equal(2, limiter.BusyCount);
        for (var i = 0; i < 200; i++)
        {
            now += Millisecond;
            first.Demand(now);
            second.LeaveIfIdle(now);
        }

        Assert.Equal(1, limiter.BusyCount);
        second.Demand(now);
        Assert.Equal(2, limiter.BusyCount);
        first.Leave();
        first.Leave();
        Assert.Equal(1, limiter.BusyCount);
    }

    [Fact]
    public void A_port_holds_requests_back_and_loses_none()
    {
        Port.SetQos(new QosLimits(1000));
        var channel = Port.OpenChannel(_reactor, _arena);
        SubmitAll(channel, 256);
        Assert.InRange(Completed(), 0, 32);
        Steps(100);
        Assert.InRange(Completed(), 80, 140);
        Steps(300);
        Assert.Equal(256, Completed());
        Assert.All(Enumerable.Range(0, 256), index => Assert.Equal(1, _arena.Completions[index]));
        Assert.Equal(0, Port.GetStatistics().Outstanding);
        // Their time counts from when they came.
        Assert.True(Port.GetStatistics().Operations[0].MaxLatencyTicks > 100 * Millisecond);
        Steps(200);
        Assert.Equal(0, _reactor.TimerCount);
        channel.Dispose();
    }

    [Fact]
    public void Reads_go_on_while_a_limit_holds_writes_back()
    {
        Port.SetQos(new QosLimits(0, 0, 0, 1));
        var channel = Port.OpenChannel(_reactor, _arena);
        for (var i = 0; i < 64; i++)
        {
            _arena.Prepare(i, i % 2 == 0 ? BlockOperation.Write : BlockOperation.Read, 0, 32);
        }

        _arena.Submit(channel, [.. Enumerable.Range(0, 64)]);
        Assert.Equal(32, Enumerable.Range(0, 64).Count(index => index % 2 == 1 && _arena.Completions[index] == 1));
        Assert.InRange(Enumerable.Range(0, 64).Count(index => index % 2 == 0 && _arena.Completions[index] == 1), 0, 3);
        Steps(2000);
        Assert.Equal(64, Completed());
        channel.Dispose();
    }

    [Fact]
    public async Task What_is_held_goes_when_the_limit_is_lifted_changed_aborted_or_the_bdev_gone()
    {
        Port.SetQos(new QosLimits(1));
        var channel = Port.OpenChannel(_reactor, _arena);
        SubmitAll(channel, 100);
        var before = Completed();
        Assert.InRange(before, 0, 1);
        channel.Abort(_arena[50]);
        Steps(1);
        Assert.Equal(BlockStatus.Aborted, _arena.GetStatus(50));
        Assert.Equal(1, _arena.Completions[50]);
        Port.SetQos(QosLimits.None);
        Steps(2);
        Assert.Equal(100, Completed());
        Assert.Equal(0, _reactor.TimerCount);

        Port.SetQos(new QosLimits(1));
        SubmitAll(channel, 100);
        var withdrawal = _publisher.WithdrawAsync("b", "test").AsTask();
        Steps(3);
        Assert.Equal(200, Completed());
        Assert.InRange(Enumerable.Range(0, 100).Count(index => _arena.GetStatus(index) == BlockStatus.NoDevice), 98, 100);
        await withdrawal.WaitAsync(TimeSpan.FromSeconds(120), TestContext.Current.CancellationToken);

        _publisher.Publish(_bdev);
        SubmitAll(channel, 100);
        channel.Dispose();
        Steps(10);
        Assert.Equal(0, _reactor.TimerCount);
        Assert.InRange(Completed(), 200, 201);
    }

    /// <summary>A session that ends waits for no tokens; the next one pays, so that nobody gets around a limit by connecting anew.</summary>
    [Fact]
    public void What_is_held_goes_at_once_when_its_user_stops_and_is_paid_for_by_who_comes_next()
    {
        Port.SetQos(new QosLimits(1000));
        var channel = Port.OpenChannel(_reactor, _arena);
        SubmitAll(channel, 256);
        var before = Completed();
        Assert.InRange(before, 0, 32);
        channel.ReleaseHeld();
        Assert.Equal(256, Completed());
        Assert.All(Enumerable.Range(0, 256), index => Assert.Equal((1, BlockStatus.Success), (_arena.Completions[index], _arena.GetStatus(index))));
        Assert.Equal(0, Port.GetStatistics().Outstanding);
        channel.ReleaseHeld();
        channel.Dispose();

        var next = Port.OpenChannel(_reactor, _arena);
        SubmitAll(next, 256);
        Steps(200);
        Assert.InRange(Completed() - 256, 0, 32);
        Steps(300);
        Assert.InRange(Completed() - 256, 180, 300);
        Steps(100);
        Assert.Equal(512, Completed());
        next.Dispose();
        Steps(200);
        Assert.Equal(0, _reactor.TimerCount);
    }

    [Fact]
    public void What_a_bdev_below_holds_back_goes_too_and_a_limit_that_is_lifted_is_owed_nothing()
    {
        var wrapping = _registry.CreatePublisher("wrapping", new BdevDeclaration { PublishedNames = ["w"] });
        wrapping.Publish(new PassingBdev("w", Port));
        var port = _registry.GetPort("w");
        Port.SetQos(new QosLimits(1));
        var channel = port.OpenChannel(_reactor, _arena);
        SubmitAll(channel, 64);
        Steps(2);
        Assert.InRange(Completed(), 0, 1);
        channel.ReleaseHeld();
        Steps(2);
        Assert.Equal(64, Completed());
        Port.SetQos(QosLimits.None);
        Port.SetQos(new QosLimits(10_000));
        SubmitAll(channel, 64);
        Steps(30);
        Assert.Equal(128, Completed());
        channel.Dispose();
    }

    /// <summary>One who submits anew from each completion does not keep the release going for ever.</summary>
    [Fact]
    public void A_release_from_within_a_completion_takes_what_is_there_and_no_more()
    {
        Port.SetQos(new QosLimits(1));
        IBdevChannel? channel = null;
        var again = 0;
        var receiver = new Receiver(requests =>
        {
            foreach (var request in requests)
            {
                if (again++ < 1000)
                {
                    channel!.Submit([request]);
                    channel.ReleaseHeld();
                }
            }
        });
        channel = Port.OpenChannel(_reactor, receiver);
        _arena.Prepare(0, BlockOperation.Read, 0, 1);
        _arena.Prepare(1, BlockOperation.Read, 1, 1);
        _arena.Submit(channel, [0, 1]);
        channel.ReleaseHeld();
        Assert.InRange(again, 1, 1000);
        for (var i = 0; again < 1002 && i < 5000; i++)
        {
            _reactor.Step();
        }

        Assert.Equal(1002, again);
        channel.Dispose();
    }

    [Fact]
    public void What_is_wrong_is_refused_at_once()
    {
        Port.SetQos(new QosLimits(1));
        var channel = Port.OpenChannel(_reactor, _arena);
        SubmitAll(channel, 10);
        _arena.Prepare(200, BlockOperation.Read, ulong.MaxValue, ulong.MaxValue, dataBytes: 512);
        _arena.Submit(channel, 200);
        Assert.Equal(BlockStatus.OutOfRange, _arena.GetStatus(200));
        Assert.Equal(1, _arena.Completions[200]);
        channel.Dispose();
    }

    [Fact]
    public void Holding_back_allocates_nothing()
    {
        Port.SetQos(new QosLimits(20_000));
        // A bdev that takes no note of what it sees, unlike the faulty one.
        var quiet = _registry.CreatePublisher("quiet", new BdevDeclaration { PublishedNames = ["q"] });
        quiet.Publish(new CountingBdev("q"));
        var port = _registry.GetPort("q");
        port.SetQos(new QosLimits(20_000));
        var sink = new CountingSink();
        var channel = port.OpenChannel(_reactor, sink);
        for (var i = 0; i < 32; i++)
        {
            _arena.Prepare(i, BlockOperation.Read, 0, 1);
        }

        var submitted = 0L;
        void Turn()
        {
            if (sink.Count == submitted)
            {
                submitted += 32;
                SubmitBatch(channel);
            }

            _reactor.Step();
        }

        var turns = 0;
        void Turns()
        {
            turns += 5000;
            for (var i = 0; i < 5000; i++)
            {
                Turn();
            }
        }

        Turns();
        Assert.Equal(0, Allocations.LeastOfRounds(Turns));
        Assert.InRange(sink.Count, 5L * turns, 22L * turns);
        channel.Dispose();
    }

    private static long[] Run(QosLimits limits, int[] perMillisecond, ulong bytes, bool isWrite, int seconds)
    {
        var limiter = new QosLimiter(limits, Second);
        var now = Second;
        var shares = perMillisecond.Select(_ => new QosShare(limiter, now)).ToArray();
        var done = new long[shares.Length];
        for (var step = 0; step < seconds * 1000; step++)
        {
            now += Millisecond;
            for (var i = 0; i < shares.Length; i++)
            {
                shares[i].Demand(now);
                shares[i].Refill(now);
                for (var wanted = perMillisecond[i]; wanted > 0 && shares[i].TryAdmit(isWrite, bytes); wanted--)
                {
                    done[i]++;
                }
            }
        }

        return done;
    }

    private void SubmitAll(IBdevChannel channel, int count)
    {
        for (var i = 0; i < count; i++)
        {
            _arena.Prepare(i, BlockOperation.Read, (ulong)i, 1);
        }

        _arena.Submit(channel, [.. Enumerable.Range(0, count)]);
    }

    private void SubmitBatch(IBdevChannel channel)
    {
        Span<BlockRequestPointer> batch = stackalloc BlockRequestPointer[32];
        for (var i = 0; i < batch.Length; i++)
        {
            batch[i] = _arena[i];
        }

        channel.Submit(batch);
    }

    private int Completed() => _arena.Completions.Sum();

    private void Steps(int count)
    {
        for (var i = 0; i < count; i++)
        {
            _reactor.Step();
        }
    }

    private sealed class Receiver(Action<BlockRequestPointer[]> receive) : IBdevCompletions
    {
        public void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests) => receive(requests.ToArray());
    }

    private sealed class PassingBdev(string name, IBdevPort below) : IChannelBdev
    {
        public string Name => name;

        public BdevInfo Info => below.Info!;

        public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) => new Channel(below, reactor, completions);

        private sealed class Channel(IBdevPort below, IReactor reactor, IBdevCompletions completions) : WrappingChannel(below, reactor, completions);
    }

    private sealed class CountingSink : IBdevCompletions
    {
        public long Count { get; private set; }

        public void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests) => Count += requests.Length;
    }

    private sealed class CountingBdev(string name) : IChannelBdev
    {
        public string Name => name;

        public BdevInfo Info { get; } = new() { BlockSizeBytes = 512, BlockCount = 64, ProductName = "Counting disk", Operations = BlockOperations.Read };

        public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) => new Channel(completions);

        private sealed class Channel(IBdevCompletions completions) : IBdevChannel
        {
            public void Submit(ReadOnlySpan<BlockRequestPointer> requests)
            {
                foreach (var request in requests)
                {
                    request.Value.Status = BlockStatus.Success;
                }

                completions.OnCompleted(requests);
            }

            public void Dispose()
            {
            }
        }
    }
}
