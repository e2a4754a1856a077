using CsCheck;
using Vhost.Abstractions;
using Vhost.Host.Bdevs;
using Vhost.Testing;

namespace Vhost.Host.Tests;

public sealed class PortTests : IDisposable
{
    private const BlockOperations ReadWrite = BlockOperations.Read | BlockOperations.Write;

    private readonly TestLog _log = new();
    private readonly ManualReactor _reactor = new();
    private readonly BdevRegistry _registry;
    private readonly SourcePublisher _publisher;
    private readonly RequestArena _arena = new(64);

    public PortTests()
    {
        _registry = new BdevRegistry(_log) { DrainLimit = TimeSpan.FromMilliseconds(100) };
        _publisher = _registry.CreatePublisher("source", new BdevDeclaration { PublishedNames = ["b", "n*"] });
    }

    public void Dispose() => _arena.Dispose();

    [Theory]
    [InlineData(BlockOperation.Read, 0UL, 0UL, null, BlockStatus.OutOfRange)]
    [InlineData(BlockOperation.Read, 100UL, 1UL, null, BlockStatus.OutOfRange)]
    [InlineData(BlockOperation.Read, 99UL, 2UL, null, BlockStatus.OutOfRange)]
    [InlineData(BlockOperation.Read, ulong.MaxValue, 2UL, 1024L, BlockStatus.OutOfRange)]
    [InlineData(BlockOperation.Read, 1UL, ulong.MaxValue, 512L, BlockStatus.OutOfRange)]
    [InlineData(BlockOperation.Read, 99UL, 1UL, 511L, BlockStatus.OutOfRange)]
    [InlineData(BlockOperation.Write, 99UL, 1UL, 513L, BlockStatus.OutOfRange)]
    [InlineData(BlockOperation.CompareAndWrite, 0UL, 1UL, 512L, BlockStatus.OutOfRange)]
    [InlineData(BlockOperation.Discard, 0UL, 1UL, null, BlockStatus.Unsupported)]
    [InlineData((BlockOperation)7, 0UL, 1UL, null, BlockStatus.Unsupported)]
    [InlineData((BlockOperation)255, 0UL, 1UL, null, BlockStatus.Unsupported)]
    [InlineData(BlockOperation.Read, 99UL, 1UL, null, BlockStatus.Success)]
    [InlineData(BlockOperation.Flush, ulong.MaxValue, 0UL, null, BlockStatus.Success)]
    public void What_is_wrong_never_reaches_the_bdev(BlockOperation operation, ulong start, ulong count, long? dataBytes, BlockStatus expected)
    {
        var bdev = Publish();
        bdev.CompletesAtOnce = true;
        var channel = Open("b");
        _arena.Prepare(0, operation, start, count, dataBytes: dataBytes ?? (count < 100 ? null : 0));
        Run(() => _arena.Submit(channel, 0));
        Settle();
        Assert.Equal(1, _arena.Completions[0]);
        Assert.Equal(expected, _arena.GetStatus(0));
        Assert.Equal(expected == BlockStatus.Success && operation != BlockOperation.Flush ? 1 : 0, bdev.Seen.Count);
    }

    [Theory]
    [InlineData(BlockOperation.Write)]
    [InlineData(BlockOperation.WriteZeroes)]
    [InlineData(BlockOperation.CompareAndWrite)]
    public void A_read_only_bdev_is_not_written(BlockOperation operation)
    {
        var bdev = Publish(info => info with { IsReadOnly = true });
        var channel = Open("b");
        _arena.Prepare(0, operation, 0, 1);
        Run(() => _arena.Submit(channel, 0));
        Assert.Equal(BlockStatus.ReadOnly, _arena.GetStatus(0));
        Assert.Empty(bdev.Seen);
    }

    [Fact]
    public void A_right_batch_is_one_call_down_and_one_up()
    {
        var bdev = Publish();
        bdev.CompletesAtOnce = true;
        var channel = Open("b");
        for (var i = 0; i < 32; i++)
        {
            _arena.Prepare(i, BlockOperation.Read, (ulong)i, 1);
        }

        Run(() => _arena.Submit(channel, [.. Enumerable.Range(0, 32)]));
        Assert.Equal(1, bdev.SubmitCalls);
        Assert.Equal(32, _arena.MaxBatch);
        var statistics = _registry.GetPort("b").GetStatistics();
        Assert.Equal(32UL, statistics.Operations[(int)BlockOperation.Read].Count);
        Assert.Equal(32UL * 512, statistics.Operations[(int)BlockOperation.Read].Bytes);
        Assert.Equal(0, statistics.Outstanding);
    }

    [Fact]
    public void Submitting_from_a_completion_does_not_recurse()
    {
        var bdev = Publish();
        bdev.CompletesAtOnce = true;
        var channel = Open("b");
        var left = 10_000;
        _arena.OnEach = index =>
        {
            if (left-- > 0)
            {
                _arena.Submit(channel, index);
            }
        };
        _arena.Prepare(0, BlockOperation.Read, 0, 1);
        Run(() => _arena.Submit(channel, 0));
        Settle();
        Assert.Equal(10_001, _arena.Completions[0]);
        Assert.Equal(1, bdev.MaxSubmitDepth);
    }

    [Fact]
    public void Second_and_foreign_completions_are_dropped_counted_and_named()
    {
        var bdev = Publish();
        var channel = Open("b");
        var first = _arena.Prepare(0, BlockOperation.Read, 0, 1);
        Run(() => _arena.Submit(channel, 0));
        Run(() =>
        {
            bdev.Channels[0].Complete(0);
            bdev.Channels[0].CompleteAgain(first);
            bdev.Channels[0].CompleteAgain(_arena[5]);
        });
        Assert.Equal(1, _arena.Completions[0]);
        Assert.Equal(0, _arena.Completions[5]);
        Assert.Equal(2UL, _registry.GetPort("b").GetStatistics().StrayCompletions);
        Assert.True(_log.Has("bdev b", "late or twice"));
    }

    [Fact]
    public void A_bdev_that_throws_fails_its_batch_and_is_quarantined_until_it_is_published_anew()
    {
        var bdev = Publish();
        var channel = Open("b");
        for (var i = 0; i < 4; i++)
        {
            _arena.Prepare(i, BlockOperation.Read, 0, 1);
        }

        Run(() => _arena.Submit(channel, 3));
        bdev.ThrowsOnSubmit = true;
        Run(() => _arena.Submit(channel, 0, 1));
        Assert.Equal(BlockStatus.IoError, _arena.GetStatus(0));
        Assert.Equal(BlockStatus.IoError, _arena.GetStatus(1));
        bdev.ThrowsOnSubmit = false;
        Run(() => _arena.Submit(channel, 2));
        Assert.Equal(BlockStatus.IoError, _arena.GetStatus(2));
        Assert.Equal(1, bdev.SubmitCalls - 1);
        Assert.True(_log.Has("bdev b", "failed to take requests", "submit failed"));
        Assert.Equal(BdevPortState.Quarantined, _registry.GetPort("b").State);

        // What was under way before still completes.
        Run(() => bdev.Channels[0].Complete(0));
        Assert.Equal(BlockStatus.Success, _arena.GetStatus(3));

        Withdraw();
        var second = Publish();
        second.CompletesAtOnce = true;
        Run(() => _arena.Submit(channel, 0));
        Assert.Equal(BlockStatus.Success, _arena.GetStatus(0));
    }

    [Fact]
    public void A_bdev_that_gives_no_channel_is_quarantined()
    {
        var bdev = new FaultyBdev("b", 100, ReadWrite) { ThrowsOnOpen = true };
        _publisher.Publish(bdev);
        var channel = Open("b");
        _arena.Prepare(0, BlockOperation.Read, 0, 1);
        Run(() => _arena.Submit(channel, 0));
        Assert.Equal(BlockStatus.IoError, _arena.GetStatus(0));
        Assert.True(_log.Has("bdev b", "no channel today"));
    }

    [Fact]
    public void A_channel_outlives_bdevs_that_come_and_go()
    {
        var channel = Open("b");
        _arena.Prepare(0, BlockOperation.Read, 0, 1);
        Run(() => _arena.Submit(channel, 0));
        Assert.Equal(BlockStatus.NoDevice, _arena.GetStatus(0));
        for (var round = 0; round < 3; round++)
        {
            var bdev = Publish();
            bdev.CompletesAtOnce = true;
            Run(() => _arena.Submit(channel, 0));
            Assert.Equal(BlockStatus.Success, _arena.GetStatus(0));
            Withdraw();
            Assert.True(bdev.Channels[0].IsDisposed);
            Run(() => _arena.Submit(channel, 0));
            Assert.Equal(BlockStatus.NoDevice, _arena.GetStatus(0));
        }
    }

    [Fact]
    public void A_withdrawal_waits_for_requests_and_gives_up_on_those_that_never_complete()
    {
        var bdev = Publish();
        var channel = Open("b");
        _arena.Prepare(0, BlockOperation.Read, 0, 1);
        _arena.Prepare(1, BlockOperation.Write, 0, 1);
        Run(() => _arena.Submit(channel, 0, 1));
        var inner = bdev.Channels[0];
        var stuck = inner.Pending[1];
        Run(() => inner.Complete(0));
        Withdraw();
        Assert.True(inner.IsDisposed);
        Assert.Equal(BlockStatus.NoDevice, _arena.GetStatus(1));
        Assert.Equal(1, _arena.Completions[1]);
        Assert.True(_log.Has("1 requests did not complete", "NoDevice"));

        // It completes after all, when the memory has long been used for something else.
        Run(() => inner.CompleteAgain(stuck));
        Assert.Equal(1, _arena.Completions[1]);
    }

    [Fact]
    public void Publishing_is_checked()
    {
        Publish();
        Assert.Contains("one of that name", Assert.Throws<InvalidOperationException>(() => Publish()).Message, StringComparison.Ordinal);
        Assert.Contains("declared", Assert.Throws<InvalidOperationException>(() => _publisher.Publish(new FaultyBdev("c", 1, ReadWrite))).Message, StringComparison.Ordinal);
        _publisher.Publish(new FaultyBdev("n12", 1, ReadWrite));
        foreach (var (info, reason) in new (Func<BdevInfo, BdevInfo> Change, string Reason)[]
        {
            (info => info with { BlockSizeBytes = 500 }, "power of two"),
            (info => info with { BlockCount = 0 }, "no blocks"),
            (info => info with { BlockCount = ulong.MaxValue / 512 }, "signed"),
            (info => info with { Operations = BlockOperations.Write }, "read"),
            (info => info with { HasVolatileWriteCache = true }, "flush"),
        })
        {
            var bdev = new FaultyBdev("n1", 1, ReadWrite);
            bdev.Info = info(bdev.Info);
            Assert.Contains(reason, Assert.Throws<InvalidOperationException>(() => _publisher.Publish(bdev)).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Observers_are_told_in_order_and_one_that_throws_does_no_harm()
    {
        var port = _registry.GetPort("b");
        var seen = new List<BdevChange>();
        using var bad = port.Subscribe(new Observer(_ => throw new InvalidOperationException("observer")));
        using var good = port.Subscribe(new Observer(seen.Add));
        var bdev = Publish();
        bdev.Info = bdev.Info with { BlockCount = 50 };
        _publisher.NotifyChanged("b");
        bdev.Info = bdev.Info with { SerialNumber = "x" };
        _publisher.NotifyChanged("b");
        bdev.Info = bdev.Info with { Warning = "spare is low" };
        _publisher.NotifyChanged("b");
        Withdraw();
        await port.WhenNotifiedAsync();
        Assert.Equal([BdevChange.Appeared, BdevChange.Resized, BdevChange.Changed, BdevChange.Warned, BdevChange.Removed], seen);
        Assert.True(_log.Has("observer"));
    }

    [Fact]
    public void Requests_are_checked_against_the_size_of_the_moment()
    {
        var bdev = Publish();
        bdev.CompletesAtOnce = true;
        var channel = Open("b");
        _arena.Prepare(0, BlockOperation.Read, 60, 1);
        bdev.Info = bdev.Info with { BlockCount = 50 };
        _publisher.NotifyChanged("b");
        Run(() => _arena.Submit(channel, 0));
        Assert.Equal(BlockStatus.OutOfRange, _arena.GetStatus(0));
    }

    [Fact]
    public void A_million_requests_allocate_nothing()
    {
        var bdev = new CountingBdev();
        _publisher.Publish(bdev);
        var sink = new CountingSink();
        long allocated = 0;
        long submitted = 1_000;
        var channel = Open("b", sink);
        for (var i = 0; i < 32; i++)
        {
            _arena.Prepare(i, (i & 1) == 0 ? BlockOperation.Read : BlockOperation.Write, (ulong)i, 1);
        }

        Run(() =>
        {
            SubmitMany(channel, 1_000);
            allocated = Allocations.LeastOfRounds(() =>
            {
                submitted += 1_000_000 / 32;
                SubmitMany(channel, 1_000_000 / 32);
            });
        });
        Assert.Equal(0, allocated);
        Assert.Equal(32 * submitted, sink.Count);
    }

    [Fact]
    public void Whatever_a_bdev_does_each_request_completes_exactly_once()
    {
        // Each number is a step: what to do in its low digits, to what in its high ones.
        Gen.Int[0, 999_999].Array[1, 60].Sample(
            steps =>
            {
                using var test = new PortTests();
                test.RunSteps(steps);
            },
            iter: 400,
            threads: 1);
    }

    private void RunSteps(int[] steps)
    {
        var channel = Open("b");
        FaultyBdev? bdev = null;
        var all = new List<FaultyBdev>();
        foreach (var step in steps)
        {
            var argument = step / 10;
            switch (step % 10)
            {
                case 0 or 1 or 2:
                    var free = Enumerable.Range(0, _arena.Count).Where(index => !_arena.IsPending(index)).Take(1 + (argument % 5)).ToArray();
                    foreach (var index in free)
                    {
                        var operation = (BlockOperation)(argument % 9);
                        _arena.Prepare(index, operation, (ulong)(argument % 101), (ulong)(argument % 4), (BlockRequestFlags)(argument & 1));
                    }

                    Run(() => _arena.Submit(channel, free));
                    break;
                case 3 or 4:
                    OnRandomChannel(all, argument, static (inner, argument) => inner.Complete(argument % inner.Pending.Count, (argument & 4) == 0 ? null : BlockStatus.IoError));
                    break;
                case 5:
                    OnRandomChannel(all, argument, (inner, _) =>
                    {
                        var idle = Enumerable.Range(0, _arena.Count).FirstOrDefault(index => !_arena.IsPending(index), -1);
                        if (idle >= 0)
                        {
                            inner.CompleteAgain(_arena[idle]);
                        }
                    });
                    break;
                case 6:
                    if (bdev is not null)
                    {
                        bdev.ThrowsOnSubmit = (argument & 3) == 0;
                        bdev.CompletesAtOnce = (argument & 4) == 0;
                    }

                    break;
                case 7:
                    if (bdev is null)
                    {
                        bdev = Publish(info => info with { HasVolatileWriteCache = (argument & 1) == 0, Operations = info.Operations | BlockOperations.Flush });
                        all.Add(bdev);
                    }
                    else if (argument % 4 == 0)
                    {
                        Withdraw();
                        bdev = null;
                    }

                    break;
                case 8:
                    var target = argument % _arena.Count;
                    if (_arena.IsPending(target))
                    {
                        Run(() => channel.Abort(_arena[target]));
                    }

                    break;
                default:
                    _reactor.Turn();
                    break;
            }

            for (var i = 0; i < _arena.Count; i++)
            {
                Assert.True(_arena.Completions[i] <= _arena.Submissions[i], $"request {i} completed more often than it was submitted");
            }
        }

        if (bdev is not null)
        {
            Withdraw();
        }

        Settle();
        Assert.Equal(_arena.Submissions, _arena.Completions);
        Assert.Equal(0, _registry.GetPort("b").GetStatistics().Outstanding);
        Assert.All(all, bdev => Assert.All(bdev.Channels, inner => Assert.True(inner.IsDisposed)));
    }

    private void OnRandomChannel(List<FaultyBdev> all, int argument, Action<FaultyBdev.Channel, int> action)
    {
        var candidates = all.SelectMany(bdev => bdev.Channels).Where(inner => inner.Pending.Count > 0 && !inner.IsDisposed).ToArray();
        if (candidates.Length > 0)
        {
            var inner = candidates[argument % candidates.Length];
            Run(() =>
            {
                // What was posted before ran first.
                if (inner.Pending.Count > 0)
                {
                    action(inner, argument);
                }
            });
        }
    }

    private FaultyBdev Publish(Func<BdevInfo, BdevInfo>? change = null)
    {
        var bdev = new FaultyBdev("b", 100, ReadWrite);
        bdev.Info = change?.Invoke(bdev.Info) ?? bdev.Info;
        _publisher.Publish(bdev);
        return bdev;
    }

    private void Withdraw()
    {
        var withdrawal = _publisher.WithdrawAsync("b", "the test says so").AsTask();
        while (!withdrawal.IsCompleted)
        {
            _reactor.Turn();
            Thread.Yield();
        }

        withdrawal.GetAwaiter().GetResult();
        Settle();
    }

    private IBdevChannel Open(string name, IBdevCompletions? completions = null)
    {
        IBdevChannel? channel = null;
        Run(() => channel = _registry.GetPort(name).OpenChannel(_reactor, completions ?? _arena));
        return channel!;
    }

    private void Run(Action action)
    {
        _reactor.Post(state => ((Action)state!)(), action);
        _reactor.Turn();
    }

    private void Settle()
    {
        for (var i = 0; i < 20 || (!_reactor.IsAsleep && i < 100_000); i++)
        {
            _reactor.Turn();
        }
    }

    private void SubmitMany(IBdevChannel channel, int batches)
    {
        Span<BlockRequestPointer> batch = stackalloc BlockRequestPointer[32];
        for (var i = 0; i < batch.Length; i++)
        {
            batch[i] = _arena[i];
        }

        for (var i = 0; i < batches; i++)
        {
            channel.Submit(batch);
        }
    }

    private sealed class Observer(Action<BdevChange> action) : IBdevObserver
    {
        public void OnBdevChanged(IBdevPort port, BdevChange change) => action(change);
    }

    private sealed class CountingSink : IBdevCompletions
    {
        public long Count { get; private set; }

        public void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests) => Count += requests.Length;
    }
}
