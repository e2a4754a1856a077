using System.Diagnostics;
using Vhost.Abstractions;

namespace Vhost.Plugins.Delay;

/// <summary>Keeps the results from below until they are due. Reactor thread only.</summary>
internal sealed class DelayChannel : WrappingChannel, IPoller
{
    private const int BatchSize = 64;
    private static readonly long SleepTicks = 2 * Stopwatch.Frequency / 1000;

    private readonly PriorityQueue<BlockRequestPointer, long> _kept = new();
    private readonly BlockRequestPointer[] _due = new BlockRequestPointer[BatchSize];
    private readonly (long Average, long P99) _read;
    private readonly (long Average, long P99) _write;
    private readonly (long Average, long P99) _flush;
    private readonly Random _random;
    private readonly IPollerRegistration _poller;

    internal DelayChannel(string name, IBdevPort below, IReactor reactor, IBdevCompletions completions, DelayOptions options)
        : base(below, reactor, completions)
    {
        _read = (Ticks(options.ReadAverageUs), Ticks(options.ReadP99Us ?? options.ReadAverageUs));
        _write = (Ticks(options.WriteAverageUs), Ticks(options.WriteP99Us ?? options.WriteAverageUs));
        _flush = (Ticks(options.FlushAverageUs), Ticks(options.FlushP99Us ?? options.FlushAverageUs));
        _random = new Random(options.Seed);
        _poller = reactor.AddPoller($"bdev {name}", this, wakeFileDescriptor: -1);
    }

    /// <inheritdoc/>
    public int Poll()
    {
        var count = 0;
        var now = Stopwatch.GetTimestamp();
        while (count < BatchSize && _kept.TryPeek(out var request, out var due) && due <= now)
        {
            _kept.Dequeue();
            _due[count++] = request;
        }

        if (count > 0)
        {
            Complete(_due.AsSpan(0, count));
        }

        return count;
    }

    /// <inheritdoc/>
    public bool TryArm() =>
        // An armed poller without a descriptor is polled every millisecond: near enough for what is due later than that.
        !_kept.TryPeek(out _, out var due) || due - Stopwatch.GetTimestamp() > SleepTicks;

    /// <inheritdoc/>
    public void Disarm()
    {
    }

    /// <inheritdoc/>
    protected override bool Keep(BlockRequestPointer request)
    {
        var (average, p99) = request.Value.Operation switch
        {
            BlockOperation.Read => _read,
            BlockOperation.Flush => _flush,
            _ => _write,
        };
        var delay = p99 != average && _random.Next(100) == 0 ? p99 : average;
        if (delay == 0)
        {
            return false;
        }

        _kept.Enqueue(request, Stopwatch.GetTimestamp() + delay);
        _poller.Activate();
        return true;
    }

    /// <inheritdoc/>
    protected override void OnDisposing()
    {
        _poller.Dispose();
        _kept.Clear();
    }

    private static long Ticks(double microseconds) => (long)(microseconds * Stopwatch.Frequency / 1e6);
}
