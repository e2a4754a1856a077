using Vhost.Abstractions;
using Vhost.Host.Bdevs;
using Vhost.Host.Loading;
using Vhost.Host.Manifest;
using Vhost.Host.Wiring;

namespace Vhost.Host.Tests;

/// <summary>A write that hangs in a simple bdev may land after the bdev was removed: until it has, nobody else gets its storage.</summary>
public sealed class FenceTests : IDisposable
{
    private readonly TestLog _log = new();
    private readonly RequestArena _arena = new(4);
    private readonly string _directory = Directory.CreateTempSubdirectory("vhostd-fence-").FullName;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _arena.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public async Task A_disk_that_was_removed_while_a_write_hung_is_fenced_until_that_has_returned()
    {
        var path = Path.Combine(_directory, "disk");
        await File.WriteAllTextAsync(path, "", Token);
        var link = Path.Combine(_directory, "link");
        File.CreateSymbolicLink(link, path);
        var parts = new Parts();
        await using var host = new VhostHost(_log, new HostTimes { Drain = TimeSpan.FromMilliseconds(200) });
        await host.StartAsync(Manifest(parts.Source("b", path)), Token);
        await SubmitAsync(parts, BlockOperation.Write);
        await Waiting.UntilAsync(() => parts.Running == 1, "the write runs");

        Assert.Null(host.DescribeHeld("b"));
        Assert.True(await host.RemoveBdevSourceAsync("b").WaitAsync(Waiting.Limit, Token));
        await Waiting.UntilAsync(() => !_arena.IsPending(0), "the write is given up");
        Assert.Equal(BlockStatus.NoDevice, _arena.GetStatus(0));

        // What is held is said, and the plugin keeps what it has open.
        var held = host.DescribeHeld("b");
        Assert.Contains("1 writes of bdev 'b'", held, StringComparison.Ordinal);
        Assert.Contains(path, held, StringComparison.Ordinal);
        Assert.True(_log.Has("bdev b", "1 writes hang"));
        Assert.DoesNotContain("dispose b", parts.Events);

        // Neither the name nor the path, by whatever way, is to be had; others are.
        foreach (var source in new[] { parts.Source("b", ""), parts.Source("c", path), parts.Source("c", link), parts.Source("c", $"{_directory}/./x/../disk") })
        {
            var refusal = await Assert.ThrowsAsync<HostStartException>(() => host.AddBdevSourceAsync(source, Token));
            Assert.Contains("'b' was removed", refusal.Message, StringComparison.Ordinal);
        }

        await host.AddBdevSourceAsync(parts.Source("d", Path.Combine(_directory, "other")), Token);
        Assert.True(await host.RemoveBdevSourceAsync("d"));

        parts.Release.Set();
        await Waiting.UntilAsync(() => host.DescribeHeld("b") is null, "the end of the write");
        Assert.Contains("dispose b", parts.Events);
        Assert.Equal(1, _arena.Completions[0]);
        await host.AddBdevSourceAsync(parts.Source("b", path), Token);
        Assert.True(await host.RemoveBdevSourceAsync("b"));
    }

    [Fact]
    public async Task A_read_that_hangs_holds_nothing()
    {
        var parts = new Parts();
        await using var host = new VhostHost(_log, new HostTimes { Drain = TimeSpan.FromMilliseconds(200) });
        await host.StartAsync(Manifest(parts.Source("b", "/nowhere")), Token);
        await SubmitAsync(parts, BlockOperation.Read);
        await Waiting.UntilAsync(() => parts.Running == 1, "the read runs");
        Assert.True(await host.RemoveBdevSourceAsync("b").WaitAsync(Waiting.Limit, Token));
        Assert.Null(host.DescribeHeld("b"));
        Assert.Contains("dispose b", parts.Events);
        await host.AddBdevSourceAsync(parts.Source("b", "/nowhere"), Token);
        parts.Release.Set();
    }

    [Fact]
    public async Task A_source_cannot_publish_the_name_anew_while_a_write_of_the_former_one_hangs()
    {
        var parts = new Parts();
        var registry = new BdevRegistry(_log) { DrainLimit = TimeSpan.FromMilliseconds(100) };
        var publisher = registry.CreatePublisher("s", new BdevDeclaration { PublishedNames = ["b"] });
        var reactor = await TestReactor.StartAsync(_log);
        publisher.Publish(new HangingBdev("b", parts));
        var channel = await reactor.InvokeAsync(() => registry.GetPort("b").OpenChannel(reactor, _arena));
        await reactor.InvokeAsync(() =>
        {
            _arena.Prepare(0, BlockOperation.Write, 0, 1);
            _arena.Submit(channel, 0);
        });
        await Waiting.UntilAsync(() => parts.Running == 1, "the write runs");
        await publisher.WithdrawAsync("b", "pulled").AsTask().WaitAsync(Waiting.Limit, Token);
        var refusal = Assert.Throws<InvalidOperationException>(() => publisher.Publish(new HangingBdev("b", parts)));
        Assert.Contains("may still land", refusal.Message, StringComparison.Ordinal);
        parts.Release.Set();
        await Waiting.UntilAsync(() => registry.GetLateWrites("s").Count == 0, "the end of the write");
        publisher.Publish(new HangingBdev("b", parts));
        await publisher.CloseAsync("the test is over");
        await reactor.InvokeAsync(channel.Dispose);
        await reactor.DisposeAsync();
    }

    private static BoundManifest Manifest(BoundBdevSource source) => new()
    {
        FileName = "test.json",
        Plugins = new PluginCatalog([], []),
        Reactors = new BoundReactors([], ReactorMode.Adaptive),
        Bdevs = [source],
        Transports = [],
        Controllers = [],
    };

    private Task SubmitAsync(Parts parts, BlockOperation operation)
    {
        var submitted = new TaskCompletionSource();
        var reactor = parts.Context!.Reactors[0];
        reactor.Post(
            _ =>
            {
                var channel = parts.Context.GetBdev("b").OpenChannel(reactor, _arena);
                _arena.Prepare(0, operation, 0, 1);
                _arena.Submit(channel, 0);
                submitted.SetResult();
            },
            null);
        return submitted.Task.WaitAsync(Waiting.Limit, Token);
    }

    private sealed class Options
    {
        public string DevicePath { get; set; } = "";
    }

    private sealed class Parts : IBdevFactory
    {
        private readonly System.Collections.Concurrent.ConcurrentQueue<string> _events = new();
        private int _running;

        public IReadOnlyList<string> Events => [.. _events];

        public BdevSourceContext? Context { get; private set; }

        public ManualResetEventSlim Release { get; } = new();

        public int Running => Volatile.Read(ref _running);

        public string Description => "Hangs.";

        public Type OptionsType => typeof(Options);

        public object CreateDefaultOptions() => new Options();

        public void Validate(object options, IOptionsErrors errors)
        {
        }

        public BdevDeclaration Declare(string name, object options) => new() { PublishedNames = [name] };

        public IBdevSource Create(BdevSourceContext context, object options)
        {
            Context = context;
            return new HangingSource(this, context);
        }

        public BoundBdevSource Source(string name, string path) =>
            new(name, "hanging", this, new Options { DevicePath = path }, Declare(name, this), IsShared: false);

        public void Record(string what) => _events.Enqueue(what);

        // Looks at no token, as a system call that hangs does.
        public void Hang()
        {
            Interlocked.Increment(ref _running);
            Release.Wait();
            Interlocked.Decrement(ref _running);
        }

        private sealed class HangingSource(Parts parts, BdevSourceContext context) : IBdevSource
        {
            public ValueTask StartAsync(CancellationToken cancellationToken)
            {
                context.Publisher.Publish(new HangingBdev(context.Name, parts));
                return ValueTask.CompletedTask;
            }

            public ValueTask DisposeAsync()
            {
                parts.Record($"dispose {context.Name}");
                return ValueTask.CompletedTask;
            }
        }
    }

    private sealed class HangingBdev(string name, Parts parts) : SimpleBdev(name)
    {
        public override BdevInfo Info { get; } = new() { BlockSizeBytes = 512, BlockCount = 16, ProductName = "Hanging", Operations = BlockOperations.Read | BlockOperations.Write };

        public override ValueTask ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken)
        {
            parts.Hang();
            return ValueTask.CompletedTask;
        }

        public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken)
        {
            parts.Hang();
            return ValueTask.CompletedTask;
        }
    }
}
