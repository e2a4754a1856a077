namespace Vhost.Host.Reactors;

/// <summary>Whether a reactor turns.</summary>
public enum ReactorHealthState
{
    /// <summary>It turns or sleeps.</summary>
    Healthy,

    /// <summary>It has not returned from something for longer than the watchdog allows.</summary>
    Stuck,

    /// <summary>Its thread ended by a fault.</summary>
    Failed,

    /// <summary>It was stopped, or was not started.</summary>
    Stopped,
}

/// <summary>A reactor's health.</summary>
/// <param name="State">The state.</param>
/// <param name="Culprit">When stuck: the poller, message or timer that it is in.</param>
/// <param name="Since">When stuck: for how long, at least.</param>
public sealed record ReactorHealth(ReactorHealthState State, string? Culprit = null, TimeSpan Since = default)
{
    /// <summary>All is well.</summary>
    public static readonly ReactorHealth Healthy = new(ReactorHealthState.Healthy);
}
