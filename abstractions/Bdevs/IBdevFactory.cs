namespace Vhost.Abstractions;

/// <summary>Creates sources of bdevs. Export it with <see cref="ExportBdevAttribute"/>; derive from <see cref="BdevFactory{TOptions}"/>.</summary>
public interface IBdevFactory : IPartFactory
{
    /// <summary>Says what a source with these options may publish and what it builds on.</summary>
    /// <param name="name">The source's name: its key in the manifest's <c>bdevs</c>.</param>
    /// <param name="options">Valid options.</param>
    BdevDeclaration Declare(string name, object options);

    /// <summary>Creates a source. It does nothing before <see cref="IBdevSource.StartAsync"/>.</summary>
    /// <param name="context">What the host gives the source.</param>
    /// <param name="options">Valid options.</param>
    IBdevSource Create(BdevSourceContext context, object options);
}
