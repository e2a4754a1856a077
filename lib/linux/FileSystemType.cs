using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>Which kind of file system holds an open file (statfs(2)).</summary>
public static class FileSystemType
{
    private const long HugeTlbFsMagic = 0x958458f6; // linux/magic.h

    /// <summary>The size of the huge pages that hold the file, or 0 where it is not on hugetlbfs (memfds with huge pages are).</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static unsafe ulong GetHugePageSizeBytes(int fd)
    {
        // SAFETY: the structure has the size of struct statfs, which the kernel fills.
        StatFs status = default;
        if (Libc.fstatfs(fd, &status) != 0)
        {
            throw LinuxException.Last("fstatfs", $"fd {fd}");
        }

        return status.Type == HugeTlbFsMagic ? (ulong)status.BlockSize : 0;
    }
}

/// <summary>struct statfs (asm-generic/statfs.h), 64-bit.</summary>
[StructLayout(LayoutKind.Explicit, Size = 120)]
internal struct StatFs
{
    [FieldOffset(0)] public long Type;
    [FieldOffset(8)] public long BlockSize;
}

internal static partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static unsafe partial int fstatfs(int fd, StatFs* status);
}
