namespace Vhost.Host.Loading;

/// <summary>What became of the plugins since they were loaded.</summary>
internal static class PluginChanges
{
    /// <summary>Compares.</summary>
    /// <param name="running">The plugins that run.</param>
    /// <param name="now">The plugins that were found now; those that run are among them as they were loaded.</param>
    /// <returns>Plugins that were loaded in addition, and those whose files are not the loaded ones any more.</returns>
    internal static (IReadOnlyList<string> Loaded, IReadOnlyList<string> Changed) Find(PluginCatalog running, PluginCatalog now) =>
    (
        [.. now.Plugins.Where(plugin => running.Plugins.All(known => known.Id != plugin.Id)).Select(plugin => $"load plugin {plugin.Id} ({string.Join(", ", plugin.Parts.Select(part => part.TypeName))})")],
        [.. running.Plugins.Where(plugin => plugin.Stamp != PluginStamp.Of(plugin.File)).Select(plugin => $"plugin {plugin.Id}: {plugin.File} was {(File.Exists(plugin.File) ? "changed" : "removed")}; the loaded one serves until the next start")]
    );
}

/// <summary>Tells a file from another one at the same place.</summary>
/// <param name="LengthBytes">Its length; -1 if there is none.</param>
/// <param name="WrittenUtc">When it was written last.</param>
public readonly record struct PluginStamp(long LengthBytes, DateTime WrittenUtc)
{
    /// <summary>The stamp of a file.</summary>
    /// <param name="file">The file.</param>
    internal static PluginStamp Of(string file)
    {
        var info = new FileInfo(file);
        return info.Exists ? new PluginStamp(info.Length, info.LastWriteTimeUtc) : new PluginStamp(-1, default);
    }
}
