using CsCheck;
using Vhost.Abstractions;
using Vhost.Host.Bdevs;
using Vhost.Host.Reactors;
using Vhost.Testing;

namespace Vhost.Host.Tests;

public sealed class EmulationTests : IDisposable
{
    private const ulong Blocks = 4096;

    private readonly TestLog _log = new();
    private readonly ManualReactor _reactor = new();
    private readonly BdevRegistry _registry;
    private readonly SourcePublisher _publisher;
    private readonly RequestArena _arena = new(8, 512 * 1024);

    public EmulationTests()
    {
        _registry = new BdevRegistry(_log);
        _publisher = _registry.CreatePublisher("source", new BdevDeclaration { PublishedNames = ["b"] });
    }

    public void Dispose() => _arena.Dispose();

    [Fact]
    public void Zeroes_are_written_in_pieces()
    {
        var bdev = Publish();
        Array.Fill(bdev.Data, (byte)0xEE);
        var channel = Open();
        _arena.Prepare(0, BlockOperation.WriteZeroes, 1, Blocks - 2);
        Run(() => _arena.Submit(channel, 0));
        Assert.Equal(BlockStatus.Success, _arena.GetStatus(0));
        Assert.True(bdev.Data.AsSpan(0, 512).IndexOfAnyExcept((byte)0xEE) < 0);
        Assert.True(bdev.Data.AsSpan(512, (int)(Blocks - 2) * 512).IndexOfAnyExcept((byte)0) < 0);
        Assert.True(bdev.Data.AsSpan((int)(Blocks - 1) * 512).IndexOfAnyExcept((byte)0xEE) < 0);
        Assert.All(bdev.Seen, seen => Assert.True(seen.Count * 512 <= 1 << 20));
    }

    [Theory]
    [InlineData(true, false)]
    [InlineData(false, false)]
    [InlineData(true, true)]
    public void Force_unit_access_is_a_flush_after_the_write_where_there_is_a_cache(bool hasCache, bool hasFua)
    {
        var bdev = Publish(info => info with { Operations = info.Operations | BlockOperations.Flush, HasVolatileWriteCache = hasCache, HasForceUnitAccess = hasFua });
        var channel = Open();
        _arena.Prepare(0, BlockOperation.Write, 3, 2, BlockRequestFlags.ForceUnitAccess);
        Run(() => _arena.Submit(channel, 0));
        Assert.Equal(BlockStatus.Success, _arena.GetStatus(0));
        BlockOperation[] expected = hasCache && !hasFua ? [BlockOperation.Write, BlockOperation.Flush] : [BlockOperation.Write];
        Assert.Equal(expected, bdev.Seen.Select(seen => seen.Operation));
        if (hasFua)
        {
            Assert.Equal(BlockRequestFlags.ForceUnitAccess, bdev.Seen[0].Flags);
        }

        // The same for what is emulated by writes.
        bdev.Seen.Clear();
        _arena.Prepare(1, BlockOperation.WriteZeroes, 3, 2, BlockRequestFlags.ForceUnitAccess);
        Run(() => _arena.Submit(channel, 1));
        Assert.Equal(expected, bdev.Seen.Select(seen => seen.Operation));
        if (hasFua)
        {
            Assert.Equal(BlockRequestFlags.ForceUnitAccess, bdev.Seen[0].Flags);
        }
    }

    [Fact]
    public void A_failed_step_fails_the_whole()
    {
        var bdev = Publish(info => info with { Operations = info.Operations | BlockOperations.Flush, HasVolatileWriteCache = true });
        bdev.CompletesAtOnce = false;
        var channel = Open();
        _arena.Prepare(0, BlockOperation.Write, 3, 2, BlockRequestFlags.ForceUnitAccess);
        Run(() => _arena.Submit(channel, 0));
        Run(() => bdev.Channels[0].Complete(0));
        Assert.Equal(0, _arena.Completions[0]);
        Run(() => bdev.Channels[0].Complete(0, BlockStatus.IoError));
        Assert.Equal(BlockStatus.IoError, _arena.GetStatus(0));
    }

    [Fact]
    public void Compare_finds_the_first_difference() =>
        Gen.Select(Gen.Int[1, 600], Gen.Int[0, 3000], Gen.Int[-1, 600 * 512 - 1]).Sample(
            (count, start, difference) =>
            {
                using var test = new EmulationTests();
                test.CheckCompare((ulong)count, (ulong)start, difference);
            },
            iter: 100,
            threads: 1);

    [Fact]
    public void Operations_in_any_order_leave_what_a_model_says() =>
        Gen.Int[0, 9_999_999].Array[1, 40].Sample(
            steps =>
            {
                using var test = new EmulationTests();
                test.RunModel(steps);
            },
            iter: 150,
            threads: 1);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Compare_and_write_on_two_reactors_loses_no_increment(int reactorCount)
    {
        // Each reactor increments a counter on the same block by compare-and-write, and others of its writes overlap the range.
        var reactors = new List<Reactor>();
        for (var i = 0; i < reactorCount; i++)
        {
            reactors.Add(await TestReactor.StartAsync(_log, id: i));
        }

        try
        {
            var bdev = new SlowMemoryBdev("b", 16);
            _publisher.Publish(bdev);
            var workers = new List<Incrementer>();
            foreach (var reactor in reactors)
            {
                for (var i = 0; i < 2; i++)
                {
                    var worker = new Incrementer(_registry.GetPort("b"), reactor, rounds: 150);
                    workers.Add(worker);
                    await reactor.InvokeAsync(worker.Start);
                }
            }

            await Task.WhenAll(workers.Select(worker => worker.Done)).WaitAsync(Waiting.Limit, TestContext.Current.CancellationToken);
            var value = BitConverter.ToUInt64(bdev.Data, 512);
            TestContext.Current.TestOutputHelper?.WriteLine($"{workers.Sum(worker => worker.Misses)} miscompares among {value} increments on {reactorCount} reactors");
            Assert.Equal((ulong)workers.Sum(worker => worker.Successes), value);
            Assert.All(workers, worker => Assert.Equal(150, worker.Successes));
            foreach (var worker in workers)
            {
                await worker.Reactor.InvokeAsync(worker.Dispose);
            }

            await _publisher.CloseAsync("test");
        }
        finally
        {
            foreach (var reactor in reactors)
            {
                await reactor.DisposeAsync();
            }
        }
    }

    [Fact]
    public void A_write_does_not_slip_between_compare_and_write()
    {
        var bdev = Publish();
        bdev.CompletesAtOnce = false;
        var first = Open();
        var second = Open();
        _arena.Prepare(0, BlockOperation.CompareAndWrite, 4, 2);
        _arena.GetBuffer(0).Slice(1024, 1024).Fill(7);
        _arena.Prepare(1, BlockOperation.Write, 5, 1);
        _arena.GetBuffer(1)[..512].Fill(9);
        _arena.Prepare(2, BlockOperation.Write, 9, 1);
        Run(() => _arena.Submit(first, 0));
        // The compare is reading; an overlapping write on another channel has to wait, another one need not.
        Assert.Equal([BlockOperation.Read], bdev.Seen.Select(seen => seen.Operation));
        Run(() => _arena.Submit(second, 1, 2));
        Assert.Equal([(BlockOperation.Read, 4UL), (BlockOperation.Write, 9UL)], bdev.Seen.Select(seen => (seen.Operation, seen.Start)));
        Run(() => bdev.Channels[0].Complete(0));
        Assert.Equal((BlockOperation.Write, 4UL), (bdev.Seen[^1].Operation, bdev.Seen[^1].Start));
        Run(() => bdev.Channels[0].Complete(0));
        Assert.Equal(BlockStatus.Success, _arena.GetStatus(0));
        Assert.Equal((BlockOperation.Write, 5UL), (bdev.Seen[^1].Operation, bdev.Seen[^1].Start));
        Run(bdev.Channels[1].CompleteAll);
        Assert.Equal(9, bdev.Data[5 * 512]);
        Assert.Equal(7, bdev.Data[4 * 512]);
    }

    [Fact]
    public void Compare_and_write_waits_for_overlapping_writes_under_way_and_survives_a_withdrawal()
    {
        var bdev = Publish();
        bdev.CompletesAtOnce = false;
        var first = Open();
        var second = Open();
        _arena.Prepare(1, BlockOperation.Write, 5, 1);
        _arena.GetBuffer(1)[..512].Fill(9);
        Run(() => _arena.Submit(second, 1));
        _arena.Prepare(0, BlockOperation.CompareAndWrite, 4, 2);
        Run(() => _arena.Submit(first, 0));
        Assert.Single(bdev.Seen);
        Run(() => bdev.Channels[1].Complete(0));
        Assert.Equal(BlockOperation.Read, bdev.Seen[^1].Operation);
        // What it reads has the write in it, so it differs from zeroes.
        Run(() => bdev.Channels[0].Complete(0));
        Assert.Equal(BlockStatus.Miscompare, _arena.GetStatus(0));

        Run(() => _arena.Submit(second, 1));
        Run(() => _arena.Submit(first, 0));
        var withdrawal = _publisher.WithdrawAsync("b", "gone").AsTask();
        _reactor.TurnUntil(() => withdrawal.IsCompleted);
        _reactor.TurnUntilIdle();
        Assert.Equal(BlockStatus.NoDevice, _arena.GetStatus(0));
        Assert.Equal(BlockStatus.NoDevice, _arena.GetStatus(1));
    }

    [Fact]
    public void Nothing_of_an_atomic_write_is_seen_before_all_of_it_is()
    {
        var bdev = Publish(info => info with { AtomicWriteBlocks = 4 });
        bdev.CompletesAtOnce = false;
        var first = Open();
        var second = Open();
        Array.Fill(bdev.Data, (byte)1);
        _arena.Prepare(0, BlockOperation.Write, 4, 4);
        _arena[0].Value.Flags = BlockRequestFlags.Atomic;
        _arena.GetBuffer(0)[..2048].Fill(7);
        _arena.Prepare(1, BlockOperation.Read, 6, 2);
        _arena.Prepare(2, BlockOperation.Write, 5, 1);
        _arena.GetBuffer(2)[..512].Fill(9);
        _arena.Prepare(3, BlockOperation.Read, 8, 1);
        _arena.Prepare(4, BlockOperation.Read, 3, 2);

        // A read that is under way is waited for; what comes later waits, unless it lies elsewhere.
        Run(() => _arena.Submit(second, 1));
        Run(() => _arena.Submit(first, 0));
        Assert.Equal([(BlockOperation.Read, 6UL)], bdev.Seen.Select(seen => (seen.Operation, seen.Start)));
        Run(() => _arena.Submit(second, 2, 3, 4));
        Assert.Equal((BlockOperation.Read, 8UL), (bdev.Seen[^1].Operation, bdev.Seen[^1].Start));
        Run(() => bdev.Channels[1].Complete(0));
        Assert.Equal(1, _arena.GetBuffer(1)[0]);
        Assert.Equal((BlockOperation.Write, 4UL), (bdev.Seen[^1].Operation, bdev.Seen[^1].Start));
        Run(() => bdev.Channels[0].Complete(0));
        Assert.Equal(BlockStatus.Success, _arena.GetStatus(0));
        Run(bdev.Channels[1].CompleteAll);
        Run(bdev.Channels[1].CompleteAll);
        Assert.Equal((1, 7), (_arena.GetBuffer(4)[0], _arena.GetBuffer(4)[512]));
        Assert.Equal((7, 9, 7), (bdev.Data[4 * 512], bdev.Data[5 * 512], bdev.Data[6 * 512]));
    }

    [Fact]
    public void Atomic_writes_take_turns_and_one_that_is_too_long_is_refused()
    {
        var bdev = Publish(info => info with { AtomicWriteBlocks = 4, HasVolatileWriteCache = true, Operations = info.Operations | BlockOperations.Flush });
        bdev.CompletesAtOnce = false;
        var first = Open();
        var second = Open();
        for (var i = 0; i < 2; i++)
        {
            _arena.Prepare(i, BlockOperation.Write, 4, 4);
            _arena[i].Value.Flags = BlockRequestFlags.Atomic | BlockRequestFlags.ForceUnitAccess;
            _arena.GetBuffer(i)[..2048].Fill((byte)(i + 1));
        }

        _arena.Prepare(2, BlockOperation.Write, 4, 5);
        _arena[2].Value.Flags = BlockRequestFlags.Atomic;
        Run(() => _arena.Submit(first, 0, 2));
        Run(() => _arena.Submit(second, 1));
        Assert.Equal(BlockStatus.Unsupported, _arena.GetStatus(2));

        // Each is a write and a flush, and the second begins when the first is durable.
        Assert.Equal([BlockOperation.Write], bdev.Seen.Select(seen => seen.Operation));
        Run(() => bdev.Channels[0].Complete(0));
        Assert.Equal([BlockOperation.Write, BlockOperation.Flush], bdev.Seen.Select(seen => seen.Operation));
        Run(() => bdev.Channels[0].Complete(0));
        Assert.Equal(BlockStatus.Success, _arena.GetStatus(0));
        Assert.Equal([BlockOperation.Write, BlockOperation.Flush, BlockOperation.Write], bdev.Seen.Select(seen => seen.Operation));
        Run(() => bdev.Channels[1].Complete(0));
        Run(() => bdev.Channels[1].Complete(0));
        Assert.Equal(BlockStatus.Success, _arena.GetStatus(1));
        Assert.Equal(2, bdev.Data[4 * 512]);
    }

    private void CheckCompare(ulong count, ulong start, int difference)
    {
        var bdev = Publish();
        Random.Shared.NextBytes(bdev.Data);
        var channel = Open();
        var length = (int)count * 512;
        _arena.Prepare(0, BlockOperation.Compare, start, count);
        bdev.Data.AsSpan((int)start * 512, length).CopyTo(_arena.GetBuffer(0));
        var isDifferent = difference >= 0 && difference < length;
        if (isDifferent)
        {
            _arena.GetBuffer(0)[difference] ^= 1;
        }

        Run(() => _arena.Submit(channel, 0));
        Assert.Equal(isDifferent ? BlockStatus.Miscompare : BlockStatus.Success, _arena.GetStatus(0));
        Assert.Equal(isDifferent ? (ulong)difference : 0UL, _arena[0].Value.Information);
    }

    private void RunModel(int[] steps)
    {
        var bdev = Publish(info => info with { Operations = info.Operations | BlockOperations.Flush, HasVolatileWriteCache = true });
        var model = new byte[bdev.Data.Length];
        var channel = Open();
        foreach (var step in steps)
        {
            var operation = (step % 5) switch { 0 => BlockOperation.Read, 1 => BlockOperation.Write, 2 => BlockOperation.WriteZeroes, 3 => BlockOperation.Compare, _ => BlockOperation.CompareAndWrite };
            var start = (step / 5) % 64;
            var count = 1 + ((step / 320) % 6);
            var range = model.AsSpan(start * 512, count * 512);
            _arena.Prepare(0, operation, (ulong)start, (ulong)count, (BlockRequestFlags)(step & 1));
            var buffer = _arena.GetBuffer(0);
            buffer[..(count * 1024)].Fill((byte)step);
            var matches = step % 3 == 0;
            if (operation is BlockOperation.Compare or BlockOperation.CompareAndWrite && matches)
            {
                range.CopyTo(buffer);
            }

            var equal = range.SequenceEqual(buffer[..range.Length]);
            Run(() => _arena.Submit(channel, 0));
            var expected = operation is BlockOperation.Compare or BlockOperation.CompareAndWrite && !equal ? BlockStatus.Miscompare : BlockStatus.Success;
            Assert.Equal(expected, _arena.GetStatus(0));
            switch (operation)
            {
                case BlockOperation.Read:
                    Assert.True(range.SequenceEqual(_arena.GetBuffer(0)[..range.Length]));
                    break;
                case BlockOperation.Write:
                    range.Fill((byte)step);
                    break;
                case BlockOperation.WriteZeroes:
                    range.Clear();
                    break;
                case BlockOperation.CompareAndWrite when equal:
                    range.Fill((byte)step);
                    break;
                default:
                    break;
            }

            Assert.True(model.AsSpan().SequenceEqual(bdev.Data));
        }
    }

    private FaultyBdev Publish(Func<BdevInfo, BdevInfo>? change = null)
    {
        var bdev = new FaultyBdev("b", Blocks, BlockOperations.Read | BlockOperations.Write) { CompletesAtOnce = true };
        bdev.Info = change?.Invoke(bdev.Info) ?? bdev.Info;
        _publisher.Publish(bdev);
        return bdev;
    }

    private IBdevChannel Open()
    {
        IBdevChannel? channel = null;
        Run(() => channel = _registry.GetPort("b").OpenChannel(_reactor, _arena));
        return channel!;
    }

    private void Run(Action action)
    {
        _reactor.Invoke(action);
        _reactor.TurnUntilIdle();
    }

    /// <summary>Memory whose every request completes a turn later, so that others may come in between.</summary>
    private sealed unsafe class SlowMemoryBdev(string name, ulong blocks) : IChannelBdev
    {
        public string Name => name;

        public BdevInfo Info { get; } = new() { BlockSizeBytes = 512, BlockCount = blocks, ProductName = "Slow", Operations = BlockOperations.Read | BlockOperations.Write };

        public byte[] Data { get; } = new byte[blocks * 512];

        public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) => new Channel(this, reactor, completions);

        private sealed class Channel(SlowMemoryBdev bdev, IReactor reactor, IBdevCompletions completions) : IBdevChannel
        {
            public void Submit(ReadOnlySpan<BlockRequestPointer> requests)
            {
                foreach (var request in requests)
                {
                    var held = request;
                    reactor.Post(_ => reactor.Post(_ => Complete(held), null), null);
                }
            }

            public void Dispose()
            {
            }

            private void Complete(BlockRequestPointer request)
            {
                var offset = (int)request.Pointer->StartBlock * 512;
                lock (bdev.Data)
                {
                    for (var i = 0; i < request.Pointer->SegmentCount; i++)
                    {
                        var segment = request.Pointer->Segments[i];
                        var memory = new Span<byte>(segment.Address, (int)segment.LengthBytes);
                        var data = bdev.Data.AsSpan(offset, memory.Length);
                        if (request.Pointer->Operation == BlockOperation.Read)
                        {
                            data.CopyTo(memory);
                        }
                        else
                        {
                            memory.CopyTo(data);
                        }

                        offset += memory.Length;
                    }
                }

                request.Pointer->Status = BlockStatus.Success;
                completions.OnCompleted([request]);
            }
        }
    }

    /// <summary>Reads nothing: guesses the counter's value, compares and writes the next one, and learns from a miscompare by reading.</summary>
    private sealed class Incrementer : IBdevCompletions, IDisposable
    {
        private readonly RequestArena _arena = new(1, 4096);
        private readonly IBdevPort _port;
        private readonly int _rounds;
        private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private IBdevChannel? _channel;

        public Incrementer(IBdevPort port, Reactor reactor, int rounds)
        {
            _port = port;
            Reactor = reactor;
            _rounds = rounds;
        }

        public Reactor Reactor { get; }

        public int Successes { get; private set; }

        public int Misses { get; private set; }

        public Task Done => _done.Task;

        public void Start()
        {
            _channel = _port.OpenChannel(Reactor, this);
            Read();
        }

        public void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests)
        {
            var request = requests[0].Value;
            if (request.Operation == BlockOperation.Read)
            {
                CompareAndWrite();
                return;
            }

            if (request.Status == BlockStatus.Success)
            {
                if (++Successes == _rounds)
                {
                    _done.SetResult();
                    return;
                }
            }
            else if (request.Status == BlockStatus.Miscompare)
            {
                Misses++;
            }
            else
            {
                _done.SetException(new InvalidOperationException($"{request.Status}"));
                return;
            }

            Read();
        }

        public void Dispose()
        {
            _channel?.Dispose();
            _arena.Dispose();
        }

        private void Read()
        {
            _channel!.Submit([_arena.Prepare(0, BlockOperation.Read, 1, 1)]);
        }

        private void CompareAndWrite()
        {
            var buffer = _arena.GetBuffer(0);
            buffer[..512].CopyTo(buffer.Slice(512, 512));
            var value = BitConverter.ToUInt64(buffer[..8]);
            BitConverter.TryWriteBytes(buffer.Slice(512, 8), value + 1);
            _channel!.Submit([_arena.Prepare(0, BlockOperation.CompareAndWrite, 1, 1)]);
        }
    }
}
