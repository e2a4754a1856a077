using System.Reflection;

namespace Vhost.Host.Loading;

/// <summary>
/// Builds the catalog: finds the plugins, inspects their files, loads those that are sound, and composes their parts. Whatever is wrong
/// with one becomes a <see cref="PluginProblem"/>; the others are not affected.
/// </summary>
public sealed class PluginCatalogBuilder
{
    private readonly List<PluginProblem> _problems = [];
    private readonly PluginTrust _trust;

    private PluginCatalogBuilder(PluginPolicy policy) => _trust = new PluginTrust(_problems, policy);

    /// <summary>Loads every plugin of some directories.</summary>
    /// <param name="directories">Directories of plugins, absolute or relative to the current directory.</param>
    /// <param name="policy">Which may be loaded, or null for all.</param>
    public static PluginCatalog Load(IEnumerable<string> directories, PluginPolicy? policy = null) =>
        new PluginCatalogBuilder(policy ?? PluginPolicy.Default).Build(directories.Select(Path.GetFullPath));

    /// <summary>Loads what is new in some directories beside what is loaded. Plugins cannot be unloaded or loaded twice, so a changed one stays as it is.</summary>
    /// <param name="running">What is loaded; taken over as it is.</param>
    /// <param name="directories">Directories of plugins, absolute or relative to the current directory.</param>
    /// <param name="policy">Which may be loaded.</param>
    internal static PluginCatalog LoadAdditional(PluginCatalog running, IEnumerable<string> directories, PluginPolicy policy) =>
        new PluginCatalogBuilder(policy).Build(directories.Select(Path.GetFullPath), running);

    private PluginCatalog Build(IEnumerable<string> roots, PluginCatalog? running = null)
    {
        List<LoadedPlugin> loaded = [.. running?.Plugins ?? []];
        PluginLocation[] locations = [.. PluginLocator.Find(roots, _problems)];
        _trust.CheckMissing([.. locations.Select(location => location.Id)]);
        foreach (PluginLocation location in locations)
        {
            if (running?.Plugins.Any(plugin => plugin.Id == location.Id) == true)
            {
                continue;
            }

            try
            {
                if (LoadOne(location) is { } plugin)
                {
                    loaded.Add(plugin);
                }
            }
            catch (Exception exception)
            {
                // Whatever a damaged file makes the runtime do here, the other plugins are not affected.
                _problems.Add(new(PluginProblemCode.LoadFailed, location.Id, location.File,
                    $"the plugin cannot be inspected or loaded: {exception.GetType().Name}: {exception.Message.TrimEnd('.')}",
                    "Copy the plugin again, and let vhostd's user read its folder and all in it"));
            }
        }

        RemoveDuplicates(loaded);
        return new PluginCatalog(loaded, _problems);
    }

    private LoadedPlugin? LoadOne(PluginLocation location)
    {
        var inspector = new PluginInspector(SharedAssemblies.OfHost, _problems);
        if (!_trust.IsAllowed(location) || !inspector.TryInspect(location, out PluginMetadata? metadata) || !_trust.Check(location))
        {
            return null;
        }

        Assembly assembly;
        try
        {
            assembly = PluginLoadContext.Load(location.File, SharedAssemblies.OfHost);
        }
        catch (Exception exception)
        {
            _problems.Add(TypeLoadFailure.Describe(location, [exception]) with { TypeNames = [.. metadata.Exports.Select(export => export.TypeName)] });
            return null;
        }

        IReadOnlyList<PluginPart> parts = new PluginComposer(location, _problems).Compose(assembly);
        (int major, int minor) = metadata.Contract!.Value;
        return parts.Count == 0 ? null : new LoadedPlugin(location.Id, location.File, metadata.Version, major, minor, parts);
    }

    /// <summary>Of parts with the same kind and type name none is taken: which one a manifest means cannot be guessed.</summary>
    private void RemoveDuplicates(List<LoadedPlugin> loaded)
    {
        var duplicates = loaded.SelectMany(plugin => plugin.Parts)
            .GroupBy(part => (part.Kind, part.TypeName))
            .Where(group => group.Count() > 1)
            .ToList();
        foreach (var group in duplicates)
        {
            foreach (PluginPart part in group)
            {
                string others = string.Join(", ", group.Where(other => other != part).Select(other => other.PluginFile));
                _problems.Add(new(PluginProblemCode.DuplicateType, part.PluginId, part.PluginFile,
                    $"it exports the {part.Kind} type \"{part.TypeName}\", and so does {others}; neither is used",
                    "Remove one of the two plugins, or rename its type") { TypeNames = [part.TypeName] });
            }
        }

        var names = duplicates.Select(group => group.Key).ToHashSet();
        for (int i = loaded.Count - 1; i >= 0; i--)
        {
            PluginPart[] kept = [.. loaded[i].Parts.Where(part => !names.Contains((part.Kind, part.TypeName)))];
            if (kept.Length == 0)
            {
                loaded.RemoveAt(i);
            }
            else
            {
                loaded[i] = loaded[i] with { Parts = kept };
            }
        }
    }
}
