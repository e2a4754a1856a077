using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>Which kind of file system holds an open file (statfs(2)).</summary>
public static class FileSystemType
{
    private const long HugeTlbFsMagic = 0x958458f6; // linux/magic.h
    private const long ExtMagic = 0xef53; // linux/magic.h
    private const long BtrfsMagic = 0x9123683e; // linux/magic.h
    private const long F2fsMagic = 0xf2f52010; // linux/magic.h
    private const long XfsMagic = 0x58465342; // "XFSB"

    /// <summary>The size of the huge pages that hold the file, or 0 where it is not on hugetlbfs (memfds with huge pages are).</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static ulong GetHugePageSizeBytes(int fd)
    {
        var status = Get(fd);
        return status.Type == HugeTlbFsMagic ? (ulong)status.BlockSize : 0;
    }

    /// <summary>Whether the file lies on a file system of this machine's disks whose locks are advice: ext2 to ext4, XFS, Btrfs, F2FS. No others are known to be.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static bool IsOnLocalDisk(int fd) => Get(fd).Type is ExtMagic or BtrfsMagic or F2fsMagic or XfsMagic;

    private static unsafe StatFs Get(int fd)
    {
        // SAFETY: the structure has the size of struct statfs, which the kernel fills.
        StatFs status = default;
        if (Libc.fstatfs(fd, &status) != 0)
        {
            throw LinuxException.Last("fstatfs", $"fd {fd}");
        }

        return status;
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
