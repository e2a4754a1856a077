using System.Reflection;
using Vhost.Host.Bdevs;
using Vhost.Host.Manifest;

namespace Vhost.Host.Wiring;

/// <summary>
/// A source that was removed while writes hung in its bdevs. Until they have returned, no source of its name and none that names a path of its own is started: what lands then would land in
/// another disk's data.
/// </summary>
/// <param name="source">What was removed.</param>
/// <param name="late">What hangs.</param>
/// <param name="released">Completes when nothing hangs any more and the source was disposed.</param>
internal sealed class HeldStorage(BoundBdevSource source, IReadOnlyList<LateWrites> late, Task released)
{
    private readonly HashSet<string> _paths = GetPaths(source.Options);

    /// <summary>Whether nothing is held any more.</summary>
    internal bool IsReleased => released.IsCompleted;

    /// <summary>The name of what was removed.</summary>
    internal string Name => source.Name;

    /// <summary>Whether another source would use what is held.</summary>
    internal bool IsWantedBy(BoundBdevSource other) => other.Name == source.Name || _paths.Overlaps(GetPaths(other.Options));

    /// <summary>Says what is held, for people.</summary>
    internal string Describe() =>
        $"{string.Join("; ", late.Where(one => !one.Ended.IsCompleted).Select(one => one.Describe()))}. Until they have returned (the log tells), neither the name '{source.Name}'"
        + $"{(_paths.Count == 0 ? "" : $" nor {string.Join(" and ", _paths)}")} can be used; if they never return, the storage or the plugin has to be repaired and vhostd restarted";

    // What a plugin opens is named by an absolute path in its options; links lead to the same place.
    private static HashSet<string> GetPaths(object options) =>
    [
        .. options.GetType().GetProperties(BindingFlags.Public | BindingFlags.Instance)
            .Where(property => property.PropertyType == typeof(string) && property.CanRead && property.GetIndexParameters().Length == 0)
            .Select(property => property.GetValue(options) as string)
            .Where(Path.IsPathRooted)
            .Select(path => Resolve(path!)),
    ];

    private static string Resolve(string path)
    {
        try
        {
            return File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? Path.GetFullPath(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return Path.GetFullPath(path);
        }
    }
}
