using Microsoft.Extensions.Logging;

namespace Vhost.Abstractions;

/// <summary>What the host gives a transport.</summary>
public sealed class TransportContext
{
    /// <summary>The transport's name: its key in the manifest's <c>transports</c>.</summary>
    public required string Name { get; init; }

    /// <summary>Where the transport announces its guest's memory.</summary>
    public required IMemoryRegistry Memory { get; init; }

    /// <summary>Logs under the transport's name.</summary>
    public required ILogger Logger { get; init; }

    /// <summary>How long a stop, a disconnect or a memory change waits for requests under way before it gives them up.</summary>
    public required TimeSpan DrainTimeout { get; init; }
}
