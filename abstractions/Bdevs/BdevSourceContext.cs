using Microsoft.Extensions.Logging;

namespace Vhost.Abstractions;

/// <summary>What the host gives a source.</summary>
public sealed class BdevSourceContext
{
    /// <summary>The source's name: its key in the manifest's <c>bdevs</c>.</summary>
    public required string Name { get; init; }

    /// <summary>Makes bdevs known.</summary>
    public required IBdevPublisher Publisher { get; init; }

    /// <summary>Guest memory, for sources that do DMA.</summary>
    public required IMemoryRegistry Memory { get; init; }

    /// <summary>The host's reactors.</summary>
    public required IReadOnlyList<IReactor> Reactors { get; init; }

    /// <summary>Logs under the source's name. Never on the data path.</summary>
    public required ILogger Logger { get; init; }

    /// <summary>Gives the bdevs that <see cref="BdevDeclaration.BuildsOn"/> names.</summary>
    public required Func<string, IBdevPort> GetBdev { get; init; }
}
