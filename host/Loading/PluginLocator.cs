namespace Vhost.Host.Loading;

/// <summary>Finds the plugins of the directories that a manifest or the command line names.</summary>
internal static class PluginLocator
{
    /// <summary>Lists the folders of each directory, in the order of the directories and by name within each.</summary>
    /// <param name="roots">Absolute paths of directories of plugins.</param>
    /// <param name="problems">Takes what is wrong: a directory that cannot be read, a folder without its assembly, a second folder of a name.</param>
    internal static IReadOnlyList<PluginLocation> Find(IEnumerable<string> roots, List<PluginProblem> problems)
    {
        var found = new Dictionary<string, PluginLocation>(StringComparer.Ordinal);
        var order = new List<PluginLocation>();
        foreach (string root in roots.Distinct(StringComparer.Ordinal))
        {
            foreach (string directory in Folders(root, problems))
            {
                string id = Path.GetFileName(directory);
                var location = new PluginLocation(id, root, directory, Path.Combine(directory, id + ".dll"));
                if (found.TryGetValue(id, out PluginLocation? first))
                {
                    problems.Add(new(PluginProblemCode.DuplicateId, id, location.File,
                        $"a plugin of this id was already found as {first.File}, which is used",
                        "Remove or rename one of the two folders, or take its directory out of plugins.directories"));
                }
                else if (!File.Exists(location.File))
                {
                    problems.Add(Missing(location));
                }
                else
                {
                    found.Add(id, location);
                    order.Add(location);
                }
            }
        }

        return order;
    }

    private static IEnumerable<string> Folders(string root, List<PluginProblem> problems)
    {
        try
        {
            // A name that begins with a dot is for tools (.git, .cache), as everywhere on Unix.
            return [.. Directory.EnumerateDirectories(root)
                .Where(directory => !Path.GetFileName(directory).StartsWith('.'))
                .Order(StringComparer.Ordinal)];
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            bool missing = exception is DirectoryNotFoundException;
            problems.Add(new(PluginProblemCode.DirectoryUnreadable, Path.GetFileName(root), root,
                missing ? "the directory of plugins does not exist" : $"the directory of plugins cannot be read: {exception.Message}",
                missing
                    ? "Create it, or correct plugins.directories in the manifest or --plugins on the command line"
                    : "Let vhostd's user read and enter it"));
            return [];
        }
    }

    private static PluginProblem Missing(PluginLocation location)
    {
        string[] others = [.. Directory.EnumerateFiles(location.Directory, "*.dll").Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal).Take(5)];
        string there = others.Length == 0 ? "it holds no assembly at all" : $"it holds {string.Join(", ", others)}";
        return new(PluginProblemCode.FileMissing, location.Id, location.File,
            $"the folder has no {location.Id}.dll; {there}",
            $"Publish the plugin into it (dotnet publish -o {location.Directory}); folder and assembly have the same name");
    }
}
