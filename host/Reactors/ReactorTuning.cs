namespace Vhost.Host.Reactors;

/// <summary>Times of the adaptive mode.</summary>
public sealed record ReactorTuning
{
    /// <summary>
    /// How long an active poller without work is polled on before it is armed. A sleep costs some 6 us of latency, once; 20 to 50 us of
    /// spinning keep back-to-back requests at polling speed for a few per cent of CPU at light load.
    /// </summary>
    public TimeSpan Linger { get; init; } = TimeSpan.FromMicroseconds(50);

    /// <summary>How often epoll is looked at while some pollers are active and others armed.</summary>
    public TimeSpan LookInterval { get; init; } = TimeSpan.FromMicroseconds(20);

    /// <summary>How often an idle poller without a wake descriptor is polled, at the slowest.</summary>
    public TimeSpan MaxBackOff { get; init; } = TimeSpan.FromMilliseconds(1);

    /// <summary>How long a turn may take before the watchdog names it.</summary>
    public TimeSpan StuckAfter { get; init; } = TimeSpan.FromSeconds(1);
}
