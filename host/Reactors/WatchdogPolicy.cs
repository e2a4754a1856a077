namespace Vhost.Host.Reactors;

/// <summary>What happens when a reactor does not turn any more.</summary>
public enum WatchdogPolicy
{
    /// <summary>
    /// The process ends with a failure after a time, so that its supervisor starts it again: in-flight tracking lets the guests go on with what was under way.
    /// </summary>
    Exit,

    /// <summary>It is reported, and nothing else.</summary>
    Report,
}
