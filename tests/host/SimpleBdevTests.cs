using Vhost.Abstractions;
using Vhost.Host.Bdevs;
using Vhost.Host.Reactors;

namespace Vhost.Host.Tests;

public sealed class SimpleBdevTests
{
    private readonly TestLog _log = new();

    [Fact]
    public async Task Data_goes_there_and_back_in_pieces_and_a_short_read_shows_zeroes()
    {
        await using var set = await Setup.CreateAsync(_log, new MemoryBdev(8192));
        Random.Shared.NextBytes(set.Arena.GetBuffer(0));
        var written = set.Arena.GetBuffer(0)[..(5000 * 512)].ToArray();
        await set.DoAsync(0, BlockOperation.Write, 100, 5000);
        await set.DoAsync(1, BlockOperation.Read, 100, 5000);
        Assert.Equal(BlockStatus.Success, set.Arena.GetStatus(1));
        Assert.True(set.Arena.GetBuffer(1)[..written.Length].SequenceEqual(written));
        Assert.True(set.Bdev.Calls > 4, "2.5 MB are more than one piece");
        Assert.True(set.Bdev.MaxRunning <= set.Bdev.MaxConcurrency);

        set.Bdev.ReadsNothing = true;
        await set.DoAsync(1, BlockOperation.Read, 100, 10);
        Assert.True(set.Arena.GetBuffer(1)[..5120].IndexOfAnyExcept((byte)0) < 0, "no data of an earlier request");
    }

    [Theory]
    [InlineData(false, BlockStatus.IoError)]
    [InlineData(true, BlockStatus.Unsupported)]
    public async Task An_exception_fails_its_request_and_is_logged(bool isUnsupported, BlockStatus expected)
    {
        await using var set = await Setup.CreateAsync(_log, new MemoryBdev(64));
        set.Bdev.OnCall = _ => throw (isUnsupported ? new NotSupportedException("cannot") : new IOException("cannot"));
        await set.DoAsync(0, BlockOperation.Read, 0, 1);
        Assert.Equal(expected, set.Arena.GetStatus(0));
        Assert.True(_log.Has("bdev simple", "Read", "cannot"));
        set.Bdev.OnCall = null;
        await set.DoAsync(0, BlockOperation.Read, 0, 1);
        Assert.Equal(BlockStatus.Success, set.Arena.GetStatus(0));
    }

    [Fact]
    public async Task A_method_that_blocks_leaves_only_its_own_request_pending()
    {
        using var release = new ManualResetEventSlim();
        await using var set = await Setup.CreateAsync(_log, new MemoryBdev(64));
        set.Bdev.OnCall = offset =>
        {
            if (offset == 0)
            {
                release.Wait(TestContext.Current.CancellationToken);
            }
        };
        await set.SubmitAsync(0, BlockOperation.Write, 0, 1);
        for (var i = 0; i < 50; i++)
        {
            await set.DoAsync(1, BlockOperation.Read, 1, 1);
        }

        Assert.True(set.Arena.IsPending(0));
        release.Set();
        await Waiting.UntilAsync(() => !set.Arena.IsPending(0), "the blocked one");
    }

    [Fact]
    public async Task An_aborted_read_ends_at_once_and_an_aborted_write_when_its_method_has()
    {
        using var release = new ManualResetEventSlim();
        await using var set = await Setup.CreateAsync(_log, new MemoryBdev(64));
        set.Bdev.OnCall = _ => release.Wait(TestContext.Current.CancellationToken);
        await set.SubmitAsync(0, BlockOperation.Read, 0, 1);
        await set.SubmitAsync(1, BlockOperation.Write, 0, 1);
        await Waiting.UntilAsync(() => set.Bdev.Calls == 2, "both run");
        await set.Reactor.InvokeAsync(() =>
        {
            set.Channel.Abort(set.Arena[0]);
            set.Channel.Abort(set.Arena[1]);
        });
        await Waiting.UntilAsync(() => !set.Arena.IsPending(0), "the read");
        Assert.Equal(BlockStatus.Aborted, set.Arena.GetStatus(0));
        set.Arena.GetBuffer(0)[..512].Fill(0x55);
        await Task.Delay(30, TestContext.Current.CancellationToken);
        Assert.True(set.Arena.IsPending(1), "a write that may still land is not reported as aborted");
        release.Set();
        await Waiting.UntilAsync(() => !set.Arena.IsPending(1), "the write");
        Assert.Equal(BlockStatus.Success, set.Arena.GetStatus(1));
        Assert.True(set.Arena.GetBuffer(0)[..512].IndexOfAnyExcept((byte)0x55) < 0, "the late read touches nothing");
    }

    [Fact]
    public async Task A_withdrawal_cancels_what_hangs_and_drops_what_completes_later()
    {
        await using var set = await Setup.CreateAsync(_log, new MemoryBdev(64));
        var isCancelled = new TaskCompletionSource();
        set.Bdev.OnCallAsync = async token =>
        {
            try
            {
                await Task.Delay(Timeout.Infinite, token);
            }
            finally
            {
                isCancelled.TrySetResult();
            }
        };
        await set.SubmitAsync(0, BlockOperation.Write, 0, 1);
        await set.Publisher.CloseAsync("test").WaitAsync(Waiting.Limit, TestContext.Current.CancellationToken);
        await Waiting.UntilAsync(() => !set.Arena.IsPending(0), "given up");
        Assert.Equal(BlockStatus.NoDevice, set.Arena.GetStatus(0));
        await isCancelled.Task.WaitAsync(Waiting.Limit, TestContext.Current.CancellationToken);
        await Task.Delay(30, TestContext.Current.CancellationToken);
        Assert.Equal(1, set.Arena.Completions[0]);
    }

    [Fact]
    public async Task More_requests_than_may_run_wait_their_turn()
    {
        await using var set = await Setup.CreateAsync(_log, new MemoryBdev(64));
        set.Bdev.OnCallAsync = static token => Task.Delay(1, token);
        var all = Enumerable.Range(0, 64).ToArray();
        await set.Reactor.InvokeAsync(() =>
        {
            foreach (var index in all)
            {
                set.Arena.Prepare(index, (index & 1) == 0 ? BlockOperation.Write : BlockOperation.Read, (ulong)index, 1);
            }

            set.Arena.Submit(set.Channel, all);
        });
        await Waiting.UntilAsync(() => all.All(index => !set.Arena.IsPending(index)), "all");
        Assert.All(all, index => Assert.Equal(BlockStatus.Success, set.Arena.GetStatus(index)));
        Assert.True(set.Bdev.MaxRunning <= 4);
    }

    private sealed class Setup(Reactor reactor, SourcePublisher publisher, MemoryBdev bdev, RequestArena arena, IBdevChannel channel) : IAsyncDisposable
    {
        public Reactor Reactor => reactor;

        public SourcePublisher Publisher => publisher;

        public MemoryBdev Bdev => bdev;

        public RequestArena Arena => arena;

        public IBdevChannel Channel => channel;

        public static async Task<Setup> CreateAsync(TestLog log, MemoryBdev bdev)
        {
            var reactor = await TestReactor.StartAsync(log);
            var registry = new BdevRegistry(log) { DrainLimit = TimeSpan.FromMilliseconds(100) };
            var publisher = registry.CreatePublisher("source", new BdevDeclaration { PublishedNames = ["simple"] });
            publisher.Publish(bdev);
            var arena = new RequestArena(64, 3 << 20);
            var channel = await reactor.InvokeAsync(() => registry.GetPort("simple").OpenChannel(reactor, arena));
            return new Setup(reactor, publisher, bdev, arena, channel);
        }

        public Task SubmitAsync(int index, BlockOperation operation, ulong start, ulong count) => reactor.InvokeAsync(() =>
        {
            arena.Prepare(index, operation, start, count);
            arena.Submit(channel, index);
        });

        public async Task DoAsync(int index, BlockOperation operation, ulong start, ulong count)
        {
            await SubmitAsync(index, operation, start, count);
            await Waiting.UntilAsync(() => !arena.IsPending(index), $"{operation}");
        }

        public async ValueTask DisposeAsync()
        {
            await reactor.InvokeAsync(channel.Dispose);
            await publisher.CloseAsync("the test is over");
            await reactor.DisposeAsync();
            arena.Dispose();
        }
    }

    private sealed class MemoryBdev(int blocks) : SimpleBdev("simple")
    {
        private readonly byte[] _data = new byte[blocks * 512];
        private int _running;
        private int _calls;

        public override BdevInfo Info { get; } = new()
        {
            BlockSizeBytes = 512,
            BlockCount = (ulong)blocks,
            ProductName = "Simple",
            Operations = BlockOperations.Read | BlockOperations.Write,
        };

        public override int MaxConcurrency => 4;

        public Action<long>? OnCall { get; set; }

        public Func<CancellationToken, Task>? OnCallAsync { get; set; }

        public bool ReadsNothing { get; set; }

        public int Calls => Volatile.Read(ref _calls);

        public int MaxRunning { get; private set; }

        public override async ValueTask ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken)
        {
            await EnterAsync(offsetBytes, cancellationToken);
            if (!ReadsNothing)
            {
                _data.AsMemory((int)offsetBytes, buffer.Length).CopyTo(buffer);
            }

            Interlocked.Decrement(ref _running);
        }

        public override async ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken)
        {
            await EnterAsync(offsetBytes, cancellationToken);
            buffer.CopyTo(_data.AsMemory((int)offsetBytes));
            Interlocked.Decrement(ref _running);
        }

        private async ValueTask EnterAsync(long offsetBytes, CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref _calls);
            MaxRunning = Math.Max(MaxRunning, Interlocked.Increment(ref _running));
            OnCall?.Invoke(offsetBytes);
            if (OnCallAsync is { } call)
            {
                await call(cancellationToken);
            }
        }
    }
}
