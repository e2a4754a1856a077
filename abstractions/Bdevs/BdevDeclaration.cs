namespace Vhost.Abstractions;

/// <summary>What a source may publish and what it builds on, known before it starts, so that a manifest's references can be checked.</summary>
public sealed record BdevDeclaration
{
    /// <summary>
    /// The names that the source may publish: exact, or a pattern in which <c>*</c> stands for one or more digits (<c>NVMe1n*</c>).
    /// </summary>
    public required IReadOnlyList<string> PublishedNames { get; init; }

    /// <summary>The bdevs below a source that wraps others.</summary>
    public IReadOnlyList<BdevReference> BuildsOn { get; init; } = [];
}
