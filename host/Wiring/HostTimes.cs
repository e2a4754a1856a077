namespace Vhost.Host.Wiring;

/// <summary>How long a part may take before the host goes on without it.</summary>
public sealed record HostTimes
{
    /// <summary>The start of one bdev source or transport.</summary>
    public TimeSpan Start { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a session that ends waits for requests under way.</summary>
    public TimeSpan Drain { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The stop of one transport: the drain and what is around it.</summary>
    public TimeSpan TransportStop { get; init; } = TimeSpan.FromSeconds(1.5);

    /// <summary>Disposing a part.</summary>
    public TimeSpan Dispose { get; init; } = TimeSpan.FromMilliseconds(500);

    /// <summary>How long a cancelled call may take to return.</summary>
    public TimeSpan Grace { get; init; } = TimeSpan.FromMilliseconds(250);

    /// <summary>The whole stop of the host.</summary>
    public TimeSpan Stop { get; init; } = TimeSpan.FromSeconds(4.5);
}
