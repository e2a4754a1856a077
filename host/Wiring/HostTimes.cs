namespace Vhost.Host.Wiring;

/// <summary>How long a part may take before the host goes on without it.</summary>
public sealed record HostTimes
{
    /// <summary>The start of one bdev source or transport.</summary>
    public TimeSpan Start { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a session that ends, or whose memory changes, waits for requests under way; a stop of the whole host may cut it short.</summary>
    public TimeSpan Drain { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>The stop of one transport.</summary>
    public TimeSpan TransportStop { get; init; } = TimeSpan.FromSeconds(1.5);

    /// <summary>Disposing a part.</summary>
    public TimeSpan Dispose { get; init; } = TimeSpan.FromMilliseconds(300);

    /// <summary>Disposing a bdev source: a disk is told to shut down and answers when its cache is safe, an HBA is reset.</summary>
    public TimeSpan SourceDispose { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long a cancelled call may take to return.</summary>
    public TimeSpan Grace { get; init; } = TimeSpan.FromMilliseconds(200);

    /// <summary>The whole stop of the host. The process promises 5 s, and needs some of it to end.</summary>
    public TimeSpan Stop { get; init; } = TimeSpan.FromSeconds(3.8);
}
