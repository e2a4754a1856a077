using Vhost.Abstractions;

namespace Vhost.Host.Loading;

/// <summary>The plugins that were found, what they export, and what is wrong with the others. Immutable.</summary>
public sealed class PluginCatalog
{
    private readonly Dictionary<(PartKind Kind, string TypeName), PluginPart> _parts;

    /// <summary>Makes a catalog.</summary>
    /// <param name="plugins">The loaded plugins; no two of their parts have the same kind and type name.</param>
    /// <param name="problems">What is wrong with others.</param>
    public PluginCatalog(IReadOnlyList<LoadedPlugin> plugins, IReadOnlyList<PluginProblem> problems)
    {
        Plugins = plugins;
        Problems = problems;
        _parts = plugins.SelectMany(plugin => plugin.Parts).ToDictionary(part => (part.Kind, part.TypeName));
    }

    /// <summary>The loaded plugins, by id.</summary>
    public IReadOnlyList<LoadedPlugin> Plugins { get; }

    /// <summary>What is wrong, in the order in which it was found.</summary>
    public IReadOnlyList<PluginProblem> Problems { get; }

    /// <summary>Finds a part by kind and type name, or null.</summary>
    /// <param name="kind">The kind of part.</param>
    /// <param name="typeName">The manifest's <c>type</c>.</param>
    public PluginPart? Find(PartKind kind, string typeName) => _parts.GetValueOrDefault((kind, typeName));

    /// <summary>All parts of a kind, by type name.</summary>
    /// <param name="kind">The kind of part.</param>
    public IEnumerable<PluginPart> OfKind(PartKind kind) =>
        _parts.Values.Where(part => part.Kind == kind).OrderBy(part => part.TypeName, StringComparer.Ordinal);
}
