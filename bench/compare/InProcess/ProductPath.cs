using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Abstractions;
using Vhost.Host.Bdevs;
using Vhost.Host.Manifest;
using Vhost.Host.Reactors;
using Vhost.Plugins.VhostBlk;
using Vhost.Plugins.VhostScsi;
using Vhost.Testing;
using Vhost.Virtio;

namespace Vhost.Bench;

/// <summary>What runs in a <see cref="ProductPath"/>.</summary>
internal sealed record PathOptions
{
    /// <summary>blk or scsi.</summary>
    public DeviceKind Device { get; init; }

    /// <summary>Makes the bdev.</summary>
    public required IBdevFactory Factory { get; init; }

    /// <summary>Its options.</summary>
    public required object BdevOptions { get; init; }

    /// <summary>Split or packed rings.</summary>
    public VirtqueueFormat Format { get; init; }

    /// <summary>Requests under way, in each queue.</summary>
    public int QueueDepth { get; init; } = 32;

    /// <summary>The CPUs of the reactors; each gets a queue.</summary>
    public IReadOnlyList<int> Cpus { get; init; } = [0];

    /// <summary>Whether the requests write.</summary>
    public bool IsWrite { get; init; }
}

/// <summary>
/// The whole way of a request through the product in this process: driver, ring, device type, bdev layer, plugin, and back. Only the socket of a transport
/// is missing, which no request goes through. Control thread only.
/// </summary>
internal sealed class ProductPath : IAsyncDisposable, IBdevPublisher
{
    private const string BdevName = "disk";
    private const int QueueSize = 256;
    private const ulong GuestBytes = 64 << 20;
    private const string SystemCallDetail = "io_uring_calls";

    private readonly List<Reactor> _reactors = [];
    private readonly List<(Reactor Reactor, PathDriver Driver)> _drivers = [];
    private readonly List<(Reactor Reactor, IPollerRegistration Registration)> _registrations = [];
    private readonly List<CountingCall> _calls = [];
    private readonly List<string> _accounts = [];
    private readonly BdevPort _port = new(BdevName, NullLogger.Instance);
    private readonly GuestRam _ram = new((0x1000_0000, GuestBytes));
    private IBdevSource? _source;
    private IBdev? _bdev;
    private CountingBdev? _counting;
    private BdevAttachment? _attachment;
    private IVirtioDevice? _device;
    private IVirtioSession? _session;

    private ProductPath()
    {
    }

    /// <summary>Builds it up.</summary>
    /// <param name="options">What runs in it.</param>
    public static async Task<ProductPath> StartAsync(PathOptions options)
    {
        var path = new ProductPath();
        try
        {
            await path.BuildAsync(options).ConfigureAwait(false);
            return path;
        }
        catch
        {
            await path.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Sends requests through every queue, each its share, and counts.</summary>
    /// <param name="requestsPerQueue">How many for each queue.</param>
    public async Task<PathCounts> RunAsync(long requestsPerQueue)
    {
        var before = Read();
        var begin = Stopwatch.GetTimestamp();
        await Task.WhenAll(_drivers.Select(queue =>
        {
            var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            queue.Reactor.Post(static state => ((Action)state!)(), (Action)(() => queue.Driver.Begin(requestsPerQueue, done)));
            return done.Task;
        })).ConfigureAwait(false);
        var seconds = Stopwatch.GetElapsedTime(begin).TotalSeconds;
        var after = Read();
        return new PathCounts
        {
            Requests = requestsPerQueue * _drivers.Count,
            AllocatedBytes = _drivers.Sum(queue => queue.Driver.AllocatedBytes),
            SystemCalls = after.SystemCalls - before.SystemCalls,
            Kicks = after.Kicks - before.Kicks,
            Interrupts = after.Interrupts - before.Interrupts,
            BoundaryCalls = after.BoundaryCalls - before.BoundaryCalls,
            Messages = after.Messages - before.Messages - _drivers.Count, // those that began the run
            LockContentions = after.LockContentions - before.LockContentions,
            Seconds = seconds,
        };
    }

    /// <inheritdoc/>
    public void Publish(IBdev bdev) => _bdev = bdev;

    /// <inheritdoc/>
    public ValueTask WithdrawAsync(string name, string reason) => ValueTask.CompletedTask;

    /// <inheritdoc/>
    public void NotifyChanged(string name)
    {
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        foreach (var (reactor, registration) in _registrations)
        {
            await reactor.InvokeAsync(registration.Dispose).ConfigureAwait(false);
        }

        if (_session is not null)
        {
            await _session.DisposeAsync().ConfigureAwait(false);
        }

        if (_device is not null)
        {
            await _device.DisposeAsync().ConfigureAwait(false);
        }

        if (_attachment is not null)
        {
            await _port.DetachAsync(_attachment, TimeSpan.FromSeconds(10)).ConfigureAwait(false);
        }

        if (_source is not null)
        {
            await _source.DisposeAsync().ConfigureAwait(false);
        }

        foreach (var reactor in _reactors)
        {
            await reactor.DisposeAsync().ConfigureAwait(false);
        }

        _ram.Dispose();
    }

    private async Task BuildAsync(PathOptions options)
    {
        foreach (var cpu in options.Cpus)
        {
            var reactor = new Reactor(_reactors.Count, cpu, ReactorMode.Poll, NullLogger.Instance);
            _reactors.Add(reactor);
            await reactor.StartAsync().ConfigureAwait(false);
            _accounts.Add(await reactor.InvokeAsync(FindAccount).ConfigureAwait(false));
        }

        _source = options.Factory.Create(
            new BdevSourceContext
            {
                Name = BdevName,
                Publisher = this,
                Memory = new MemoryRegistryStandIn(),
                Reactors = _reactors,
                Logger = NullLogger.Instance,
                GetBdev = name => throw new InvalidOperationException($"nothing builds on {name} here"),
            },
            options.BdevOptions);
        await _source.StartAsync(CancellationToken.None).ConfigureAwait(false);
        _counting = new CountingBdev((IChannelBdev)_bdev!);
        _attachment = new BdevAttachment(BdevName, _bdev!, _counting, NullLogger.Instance);
        _port.Attach(_attachment);
        var context = new DeviceContext { Name = "path", Reactors = _reactors, GetBdev = _ => _port, Logger = NullLogger.Instance };
        IDeviceTypeFactory type = options.Device == DeviceKind.Scsi ? new VhostScsiFactory() : new BlkFactory();
        _device = type.Create(
            context,
            options.Device == DeviceKind.Scsi ? new VhostScsiOptions { Targets = { ["0"] = BdevName } } : new BlkOptions { Bdev = BdevName });
        await StartQueuesAsync(options).ConfigureAwait(false);
    }

    private async Task StartQueuesAsync(PathOptions options)
    {
        var features = _device!.OfferedFeatures & (options.Format == VirtqueueFormat.Packed ? ulong.MaxValue : ~VirtioFeatures.RingPacked);
        _session = _device.OpenSession(new RecordingFrontEnd());
        _session.SetFeatures(features);
        await _session.SetMemoryAsync(_ram.Map, new Dictionary<int, VirtqueueAddresses>(), CancellationToken.None).ConfigureAwait(false);
        var first = options.Device == DeviceKind.Scsi ? 2 : 0;
        var info = _port.Info!;
        for (var i = 0; i < _reactors.Count; i++)
        {
            var queue = new GuestQueue(_ram, options.Format, QueueSize, features, index: first + i);
            await _session.StartQueueAsync(queue.Setup(), CancellationToken.None).ConfigureAwait(false);
            var driver = new PathDriver(queue, options.Device, options.QueueDepth, info.BlockCount * info.BlockSizeBytes, options.IsWrite);
            // On the reactor that the device has put the queue on: a session spreads them in turn.
            var reactor = _reactors[queue.Index % _reactors.Count];
            _drivers.Add((reactor, driver));
            _calls.Add(queue.Call);
            _registrations.Add((reactor, await reactor.InvokeAsync(() => reactor.AddPoller("driver", driver, -1)).ConfigureAwait(false)));
        }
    }

    private (long SystemCalls, long Kicks, long Interrupts, long BoundaryCalls, long Messages, long LockContentions) Read()
    {
        var statistics = _reactors.Select(reactor => reactor.GetStatistics()).ToArray();
        var details = (_bdev as IDetailSource)?.GetDetails();
        var ring = details?.TryGetValue(SystemCallDetail, out var text) == true ? long.Parse(text, System.Globalization.CultureInfo.InvariantCulture) : 0;
        return (
            _accounts.Sum(CountReadsAndWrites) + statistics.Sum(reactor => reactor.Sleeps + reactor.Looks) + ring,
            _drivers.Sum(queue => queue.Driver.KickCount),
            _calls.Sum(call => (long)call.Count),
            _counting!.CallCount,
            statistics.Sum(reactor => reactor.Messages),
            Monitor.LockContentionCount);
    }

    /// <summary>Where the kernel counts this thread's reads and writes.</summary>
    private static string FindAccount() => $"/proc/{new FileInfo("/proc/thread-self").LinkTarget}/io";

    // syscr and syscw: all system calls that read and write, by any descriptor.
    private static long CountReadsAndWrites(string account) => File.ReadLines(account)
        .Where(line => line.StartsWith("sysc", StringComparison.Ordinal))
        .Sum(line => long.Parse(line.AsSpan(line.IndexOf(' ') + 1), System.Globalization.CultureInfo.InvariantCulture));
}
