using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.Host.Bdevs;
using Vhost.Host.Wiring;

namespace Vhost.Host.Tests;

public sealed class WiringTests
{
    private readonly TestLog _log = new();
    private readonly FakeParts _parts = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Parts_start_from_below_and_stop_in_reverse()
    {
        await using var host = new VhostHost(_log);
        await host.StartAsync(_parts.Manifest([_parts.Source("b"), _parts.Source("w", "b"), _parts.Source("x", "w")], (_parts.Controller("c", "t", "x"), _parts.Transport("t"))), Token);
        Assert.Equal(["create b", "start b", "create w", "start w", "create x", "start x", "create c", "create t", "start t"], _parts.Events);
        var status = host.GetStatus();
        Assert.Equal(HostState.Running, status.State);
        Assert.Equal(("c", "t", "listening"), (status.Controllers[0].Name, status.Controllers[0].TransportName, status.Controllers[0].TransportState));
        Assert.All(status.Bdevs, bdev => Assert.Equal(BdevPortState.Present, bdev.State));
        await host.StopAsync();
        await host.StopAsync();
        Assert.Equal(["stop t", "dispose t", "dispose c", "dispose x", "dispose w", "dispose b"], _parts.Events.Skip(9));
        Assert.Equal(HostState.Stopped, host.State);
    }

    [Theory]
    [InlineData("create w", "bdev source 'w'", "dispose b")]
    [InlineData("start w", "bdev source 'w'", "dispose w", "dispose b")]
    [InlineData("create c", "controller 'c'", "dispose w", "dispose b")]
    [InlineData("create t", "transport 't'", "dispose c", "dispose w", "dispose b")]
    [InlineData("start t", "transport 't'", "dispose t", "dispose c", "dispose w", "dispose b")]
    public async Task A_failed_start_names_the_part_and_is_undone(string fault, string name, params string[] undone)
    {
        _parts.Throws.Add(fault);
        await using var host = new VhostHost(_log);
        var manifest = _parts.Manifest([_parts.Source("b"), _parts.Source("w", "b")], (_parts.Controller("c", "t", "w"), _parts.Transport("t")));
        var exception = await Assert.ThrowsAsync<HostStartException>(() => host.StartAsync(manifest, Token));
        Assert.Contains(name, exception.Message, StringComparison.Ordinal);
        Assert.Contains("on purpose", exception.Message, StringComparison.Ordinal);
        Assert.Equal(HostState.Stopped, host.State);
        Assert.Equal(undone, _parts.Events.SkipWhile(what => what != fault).Skip(1));
    }

    [Fact]
    public async Task A_start_that_hangs_is_bounded_and_named()
    {
        _parts.Hangs.Add("start t");
        await using var host = new VhostHost(_log, new HostTimes { Start = TimeSpan.FromMilliseconds(200) });
        var manifest = _parts.Manifest([_parts.Source("b")], (_parts.Controller("c", "t", "b"), _parts.Transport("t")));
        var exception = await Assert.ThrowsAsync<HostStartException>(() => host.StartAsync(manifest, Token).WaitAsync(Waiting.Limit, Token));
        Assert.Contains("transport 't'", exception.Message, StringComparison.Ordinal);
        Assert.Contains("did not return", exception.Message, StringComparison.Ordinal);
        Assert.Contains("dispose b", _parts.Events);
    }

    [Fact]
    public async Task A_start_that_is_given_up_is_undone_and_is_no_failure()
    {
        _parts.Hangs.Add("start t");
        await using var host = new VhostHost(_log);
        using var givesUp = new CancellationTokenSource();
        var start = host.StartAsync(_parts.Manifest([_parts.Source("b")], (_parts.Controller("c", "t", "b"), _parts.Transport("t"))), givesUp.Token);
        await Waiting.UntilAsync(() => _parts.Events.Contains("start t"), "the transport is starting");
        await givesUp.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => start.WaitAsync(Waiting.Limit, Token));
        Assert.Contains("dispose b", _parts.Events);
        Assert.Equal(HostState.Stopped, host.State);
    }

    [Fact]
    public async Task A_stop_is_bounded_whatever_hangs_and_the_others_are_stopped_in_order()
    {
        foreach (var what in new[] { "stop t1", "dispose t1", "dispose c1", "dispose b1", "dispose w" })
        {
            _parts.Hangs.Add(what);
        }

        _parts.Throws.Add("stop t2");
        await using var host = new VhostHost(_log);
        await host.StartAsync(
            _parts.Manifest(
                [_parts.Source("b1"), _parts.Source("b2"), _parts.Source("w", "b1")],
                (_parts.Controller("c1", "t1", "w"), _parts.Transport("t1")),
                (_parts.Controller("c2", "t2", "b2"), _parts.Transport("t2"))),
            Token);
        var start = Stopwatch.GetTimestamp();
        await host.StopAsync().WaitAsync(Waiting.Limit, Token);
        TestContext.Current.TestOutputHelper?.WriteLine($"a stop in which everything of one controller hangs: {Stopwatch.GetElapsedTime(start).TotalSeconds:0.0} s");
        Assert.Equal(["stop t2", "dispose t2", "dispose c2", "dispose b2"], _parts.Events.Where(what => what is "stop t2" or "dispose t2" or "dispose c2" or "dispose b2"));
        foreach (var name in new[] { "transport 't1' (fake, /tmp/t1): stop", "transport 't1' (fake, /tmp/t1): dispose", "controller 'c1' (fake): dispose", "bdev source 'b1' (fake): dispose", "bdev source 'w' (fake): dispose" })
        {
            Assert.True(_log.Has(name, "left behind"), name);
        }

        Assert.True(_log.Has("transport 't2'", "failed"));
    }

    [Fact]
    public async Task Parts_are_added_and_removed_live()
    {
        await using var host = new VhostHost(_log);
        await host.StartAsync(_parts.Manifest([]), Token);
        await host.AddControllerAsync(_parts.Controller("c", "t", "b"), _parts.Transport("t"), Token);
        Assert.Equal(BdevPortState.Absent, host.GetStatus().Bdevs.Single().State);
        await host.AddBdevSourceAsync(_parts.Source("b"), Token);
        await host.AddBdevSourceAsync(_parts.Source("w", "b"), Token);
        Assert.All(host.GetStatus().Bdevs, bdev => Assert.Equal(BdevPortState.Present, bdev.State));

        await Assert.ThrowsAsync<HostStartException>(() => host.AddBdevSourceAsync(_parts.Source("b"), Token));
        await Assert.ThrowsAsync<HostStartException>(() => host.AddControllerAsync(_parts.Controller("c", "t2", "b"), _parts.Transport("t2"), Token));
        await Assert.ThrowsAsync<HostStartException>(() => host.AddControllerAsync(_parts.Controller("c2", "t3", "b"), _parts.Transport("t3", "/tmp/t"), Token));
        var inUse = await Assert.ThrowsAsync<InvalidOperationException>(() => host.RemoveBdevSourceAsync("b"));
        Assert.Contains("'w' builds on 'b'", inUse.Message, StringComparison.Ordinal);

        Assert.True(await host.RemoveBdevSourceAsync("w"));
        Assert.True(await host.RemoveBdevSourceAsync("b"));
        Assert.False(await host.RemoveBdevSourceAsync("b"));
        Assert.True(await host.RemoveControllerAsync("c"));
        Assert.False(await host.RemoveControllerAsync("c"));
        Assert.Empty(host.GetStatus().Controllers);
        await host.AddControllerAsync(_parts.Controller("c", "t", "b"), _parts.Transport("t"), Token);
        await host.StopAsync();
        await Assert.ThrowsAsync<InvalidOperationException>(() => host.AddBdevSourceAsync(_parts.Source("late"), Token));
    }

    [Fact]
    public async Task A_host_that_was_not_started_stops()
    {
        var host = new VhostHost(_log);
        await host.StopAsync();
        await host.DisposeAsync();
        await Assert.ThrowsAsync<InvalidOperationException>(() => host.StartAsync(_parts.Manifest([]), Token));
    }

    [Fact]
    public void Memory_observers_see_every_region_and_a_failing_one_does_no_harm()
    {
        var registry = new MemoryRegistry(_log);
        var region = new MemoryRegion(0x1000, 0x7000, 0x2000, true, new MemoryBacking(MemoryBackingKind.Ram, 4096));
        var other = region with { GuestAddress = 0x8000 };
        using var first = registry.Register(region);
        var observer = new RecordingObserver();
        using var bad = registry.Subscribe(new RecordingObserver { Throws = true });
        var subscription = registry.Subscribe(observer);
        var second = registry.Register(other);
        first.Dispose();
        first.Dispose();
        subscription.Dispose();
        second.Dispose();
        Assert.Equal([(true, region), (true, other), (false, region)], observer.Seen);
        Assert.True(_log.Has("failed to map guest memory"));
    }

    private sealed class RecordingObserver : IMemoryObserver
    {
        public bool Throws { get; init; }

        public List<(bool IsAdded, MemoryRegion Region)> Seen { get; } = [];

        public void OnRegionAdded(MemoryRegion region) => Add(true, region);

        public void OnRegionRemoved(MemoryRegion region) => Add(false, region);

        private void Add(bool isAdded, MemoryRegion region)
        {
            Seen.Add((isAdded, region));
            if (Throws)
            {
                throw new InvalidOperationException("observer");
            }
        }
    }
}
