using Microsoft.Extensions.Logging;
using Vhost.Abstractions;

namespace Vhost.VhostUser;

/// <summary>What a session needs beside its device and its link.</summary>
public sealed class VhostUserSessionOptions
{
    /// <summary>Names the transport in messages.</summary>
    public required string Name { get; init; }

    /// <summary>Where guest memory is announced.</summary>
    public required IMemoryRegistry Memory { get; init; }

    /// <summary>Where to log.</summary>
    public required ILogger Logger { get; init; }

    /// <summary>How long one message, and the end of the session, wait for requests under way.</summary>
    public required TimeSpan DrainTimeout { get; init; }

    /// <summary>How long a queue may take to start: five times as long, since a guest that waits is better off than one whose session ends.</summary>
    public TimeSpan StartTimeout => DrainTimeout * 5;
}
