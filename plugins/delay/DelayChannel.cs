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
    private readonly DelayBdev _bdev;
    private readonly Random _random;
    private readonly IPollerRegistration _poller;

    internal DelayChannel(DelayBdev bdev, IBdevPort below, IReactor reactor, IBdevCompletions completions, int seed)
        : base(below, reactor, completions)
    {
        _bdev = bdev;
        _random = new Random(seed);
        _poller = reactor.AddPoller($"bdev {bdev.Name}", this, wakeFileDescriptor: -1);
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
        var (average, p99) = _bdev.Times.Of(request.Value.Operation);
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
}
