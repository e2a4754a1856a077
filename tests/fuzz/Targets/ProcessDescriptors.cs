namespace Vhost.Fuzz.Tests.Targets;

/// <summary>Counts what a peer may make this process keep.</summary>
internal static class ProcessDescriptors
{
    /// <summary>Descriptors of this process of the kinds that come over sockets; the runtime opens files of its own at any time.</summary>
    public static int Count() => Directory.GetFileSystemEntries("/proc/self/fd").Count(path => IsForeign(new FileInfo(path).LinkTarget ?? ""));

    private static bool IsForeign(string target) =>
        target.StartsWith("socket:", StringComparison.Ordinal) || target.StartsWith("anon_inode:[eventfd]", StringComparison.Ordinal)
            || target.StartsWith("/memfd:", StringComparison.Ordinal);
}
