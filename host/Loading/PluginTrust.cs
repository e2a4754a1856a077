using Vhost.Linux;

namespace Vhost.Host.Loading;

/// <summary>
/// Checks who may change a plugin's files. A plugin runs with all rights of vhostd: .NET has no boundary inside a process. So whoever may
/// write a plugin's folder, its file or a directory above may become vhostd's user.
/// </summary>
/// <param name="problems">Takes what is wrong, as warnings unless <paramref name="strict"/>.</param>
/// <param name="strict">Whether a plugin that others may change is refused.</param>
internal sealed class PluginTrust(List<PluginProblem> problems, bool strict)
{
    private readonly uint _userId = ProcessLimits.EffectiveUserId;
    private readonly Dictionary<string, string?> _faults = new(StringComparer.Ordinal);

    /// <summary>Checks a plugin's file and every directory above it.</summary>
    /// <param name="location">The plugin.</param>
    /// <returns>Whether it may be loaded.</returns>
    internal bool Check(PluginLocation location)
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
                    $"chown it to root or to vhostd's user, and chmod go-w {path}") { IsWarning = !strict });
                return !strict;
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
