using Vhost.Linux;

namespace Vhost.Host.Loading;

/// <summary>
/// Checks whether a plugin is wanted, is the one that is wanted, and who may change its files. A plugin runs with all rights of vhostd: .NET has no boundary inside a process. So whoever may
/// write a plugin's folder, its file or a directory above may become vhostd's user.
/// </summary>
/// <param name="problems">Takes what is wrong.</param>
/// <param name="policy">What may be loaded.</param>
internal sealed class PluginTrust(List<PluginProblem> problems, PluginPolicy policy)
{
    private readonly uint _userId = ProcessLimits.EffectiveUserId;
    private readonly Dictionary<string, string?> _faults = new(StringComparer.Ordinal);

    /// <summary>Checks a plugin's file and every directory above it.</summary>
    /// <param name="location">The plugin.</param>
    /// <returns>Whether it may be loaded.</returns>
    internal bool Check(PluginLocation location) => IsSafe(location) && HasDigest(location);

    /// <summary>Says which pinned plugins are not there at all.</summary>
    /// <param name="ids">The ids of the plugins that were found.</param>
    internal void CheckMissing(IReadOnlyCollection<string> ids)
    {
        foreach (string id in policy.Digests.Keys.Except(ids, StringComparer.Ordinal))
        {
            problems.Add(new(PluginProblemCode.FileMissing, id, id, "its SHA-256 is given, but there is no such plugin", "Install the plugin, or remove its entry from plugins.sha256"));
        }
    }

    /// <summary>Whether a plugin is one of those that may be loaded.</summary>
    /// <param name="location">The plugin.</param>
    internal bool IsAllowed(PluginLocation location)
    {
        if (policy.Allowed.Count == 0 || policy.Allowed.Contains(location.Id))
        {
            return true;
        }

        problems.Add(new(PluginProblemCode.NotAllowed, location.Id, location.File, "it is not in plugins.allow, and not loaded", "Add its id to plugins.allow if it is wanted") { IsWarning = true });
        return false;
    }

    private bool HasDigest(PluginLocation location)
    {
        if (!policy.Digests.TryGetValue(location.Id, out string? wanted))
        {
            return true;
        }

        string found = PluginDigest.Of(location.Directory);
        if (string.Equals(found, wanted, StringComparison.OrdinalIgnoreCase))
        {
            return true;
        }

        problems.Add(new(PluginProblemCode.DigestMismatch, location.Id, location.Directory,
            $"its files are not those of plugins.sha256: their SHA-256 is {found}",
            "Install the plugin that was meant; or, if this one is, put that SHA-256 there (vhostd plugins show prints it)"));
        return false;
    }

    private bool IsSafe(PluginLocation location)
    {
        string real = new FileInfo(location.File).ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? location.File;
        string realDirectory = new DirectoryInfo(location.Directory).ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? location.Directory;
        foreach (string path in WithParents(location.File).Concat(WithParents(real)).Concat(WithParents(realDirectory)))
        {
            if (!_faults.TryGetValue(path, out string? fault))
            {
                fault = FaultOf(FileStatus.Of(path), _userId);
                _faults.Add(path, fault);
            }

            if (fault is not null)
            {
                problems.Add(new(PluginProblemCode.Untrusted, location.Id, path,
                    $"others may change the plugin's code and so gain vhostd's rights: {fault}",
                    $"chown it to root or to vhostd's user, and chmod go-w {path}") { IsWarning = !policy.StrictPermissions });
                return !policy.StrictPermissions;
            }
        }

        return true;
    }

    private static IEnumerable<string> WithParents(string file)
    {
        for (string? path = file; path is not null; path = Path.GetDirectoryName(path))
        {
            yield return path;
        }
    }

    /// <summary>Says who else may change a file or directory, or null where nobody else may.</summary>
    /// <param name="status">The file's status.</param>
    /// <param name="userId">vhostd's user.</param>
    internal static string? FaultOf(FileStatus status, uint userId)
    {
        if (status.OwnerUserId != 0 && status.OwnerUserId != userId)
        {
            return $"it belongs to user {status.OwnerUserId}";
        }

        // In a sticky directory (/tmp) others may add files but not replace these.
        if (status.Kind == FileKind.Directory && status.Permissions.HasFlag(UnixFileMode.StickyBit))
        {
            return null;
        }

        // A group with its user's own number is that user's private one, as Debian and Ubuntu make it.
        bool isForeignGroup = status.OwnerGroupId != 0 && status.OwnerGroupId != userId;
        return status.Permissions.HasFlag(UnixFileMode.OtherWrite) ? "everybody may write it"
            : status.Permissions.HasFlag(UnixFileMode.GroupWrite) && isForeignGroup ? $"its group {status.OwnerGroupId} may write it"
            : null;
    }
}
