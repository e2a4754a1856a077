using Vhost.Abstractions;

namespace Vhost.Host.Bdevs;

/// <summary>
/// Channels that are reported together: all of one bdev, or all of one controller. The counts of channels that were closed stay in the sums. The
/// lock is for control threads and for opening and closing channels; no request takes it.
/// </summary>
internal sealed class ChannelGroup
{
    private const int MaxFormerRequests = 128;

    private readonly Lock _lock = new();
    private readonly List<PortChannel> _channels = [];
    private readonly StatisticsSum _former = new();
    private ulong[]? _formerLatencies;
    private volatile HistogramSettings? _histogram;
    private volatile bool _tracesRequests;
    private IReadOnlyList<TracedRequest> _formerRequests = [];

    /// <summary>Whether all requests are recorded, and not only those that fail. Read once a batch.</summary>
    internal bool TracesRequests
    {
        get => _tracesRequests;
        set => _tracesRequests = value;
    }

    /// <summary>How latencies are counted, or null while they are not. Read once a batch.</summary>
    internal HistogramSettings? Histogram => _histogram;

    internal void Add(PortChannel channel)
    {
        lock (_lock)
        {
            _channels.Add(channel);
        }
    }

    /// <summary>A channel was closed: its counts are kept.</summary>
    internal void Remove(PortChannel channel)
    {
        lock (_lock)
        {
            if (!_channels.Remove(channel))
            {
                return;
            }

            _former.Add(ref channel.Counters);
            _formerRequests = [.. _formerRequests.Concat(channel.GetRequests()).OrderBy(request => request.CompletedAt).TakeLast(MaxFormerRequests)];
            if (_histogram is { } settings && channel.FindMeter(settings) is { } meter)
            {
                _formerLatencies ??= new ulong[settings.BucketCount];
                meter.AddTo(_formerLatencies);
            }
        }
    }

    /// <summary>The channels that are open.</summary>
    internal IReadOnlyList<PortChannel> GetChannels()
    {
        lock (_lock)
        {
            return [.. _channels];
        }
    }

    /// <summary>What was done since the beginning.</summary>
    internal BdevStatistics GetStatistics()
    {
        lock (_lock)
        {
            var sum = _former.Clone();
            foreach (var channel in _channels)
            {
                sum.Add(ref channel.Counters);
                sum.Outstanding += Volatile.Read(ref channel.Counters.Outstanding);
            }

            return sum.ToStatistics();
        }
    }

    /// <summary>The last requests that were recorded, oldest first; those of channels that were closed too.</summary>
    internal IReadOnlyList<TracedRequest> GetRequests()
    {
        lock (_lock)
        {
            return [.. _formerRequests.Concat(_channels.SelectMany(channel => channel.GetRequests())).OrderBy(request => request.CompletedAt)];
        }
    }

    /// <summary>Begins to count latencies, from zero, or ends it. Each channel follows with its next batch.</summary>
    /// <param name="settings">How, or null for not.</param>
    internal void SetHistogram(HistogramSettings? settings)
    {
        lock (_lock)
        {
            _histogram = settings;
            _formerLatencies = null;
        }
    }

    /// <summary>The latencies counted since they were begun to be, or null if they are not.</summary>
    internal LatencyHistogram? GetHistogram()
    {
        lock (_lock)
        {
            if (_histogram is not { } settings)
            {
                return null;
            }

            var sums = (ulong[]?)_formerLatencies?.Clone() ?? new ulong[settings.BucketCount];
            foreach (var channel in _channels)
            {
                channel.FindMeter(settings)?.AddTo(sums);
            }

            return new LatencyHistogram(settings, sums);
        }
    }
}

/// <summary>A port as one user sees it: what the user does is counted for it as well as for the bdev.</summary>
/// <param name="port">The port.</param>
/// <param name="owner">Takes the user's channels.</param>
internal sealed class OwnedPort(BdevPort port, ChannelGroup owner) : IBdevPort
{
    /// <inheritdoc/>
    public string Name => port.Name;

    /// <inheritdoc/>
    public BdevInfo? Info => port.Info;

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) => port.OpenChannel(reactor, completions, owner);

    /// <inheritdoc/>
    public IDisposable Subscribe(IBdevObserver observer) => port.Subscribe(observer);
}
