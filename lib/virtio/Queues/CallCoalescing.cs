using System.Diagnostics;

namespace Vhost.Virtio;

/// <summary>How the interrupts of a device's queues are coalesced. A control thread sets it, queues read it.</summary>
public sealed class CallCoalescing
{
    /// <summary>The longest that an interrupt waits: a driver without one notices nothing but slowness, but that it does.</summary>
    public static readonly TimeSpan MaxDelay = TimeSpan.FromMilliseconds(10);

    private volatile Settings? _current;

    /// <summary>What is set, or null where no interrupt waits.</summary>
    internal Settings? Current => _current;

    /// <summary>Sets it; the queues follow at once.</summary>
    /// <param name="delayBase">The delay at twice the threshold; zero for none.</param>
    /// <param name="iopsThreshold">Requests of a queue in a second up to which no interrupt waits.</param>
    public void Set(TimeSpan delayBase, int iopsThreshold)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(delayBase, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThan(iopsThreshold, 1);
        _current = delayBase == TimeSpan.Zero ? null : new Settings(delayBase.TotalSeconds * Stopwatch.Frequency, iopsThreshold);
    }

    /// <summary>Immutable.</summary>
    /// <param name="DelayBaseTicks">The delay at twice the threshold.</param>
    /// <param name="IopsThreshold">Requests in a second up to which no interrupt waits.</param>
    internal sealed record Settings(double DelayBaseTicks, int IopsThreshold)
    {
        /// <summary>The delay at a rate.</summary>
        /// <param name="requestsPerSecond">The rate.</param>
        internal long GetDelayTicks(double requestsPerSecond) => requestsPerSecond <= IopsThreshold
            ? 0
            : (long)Math.Min(DelayBaseTicks * (requestsPerSecond - IopsThreshold) / IopsThreshold, MaxDelay.TotalSeconds * Stopwatch.Frequency);
    }
}
