using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>Kind of a file (the S_IFMT bits, linux/stat.h).</summary>
public enum FileKind
{
    /// <summary>None of the kinds below.</summary>
    Other = 0,

    /// <summary>S_IFCHR.</summary>
    CharacterDevice = 0x2000,

    /// <summary>S_IFDIR.</summary>
    Directory = 0x4000,

    /// <summary>S_IFBLK.</summary>
    BlockDevice = 0x6000,

    /// <summary>S_IFREG.</summary>
    Regular = 0x8000,

    /// <summary>S_IFSOCK.</summary>
    Socket = 0xC000,
}

/// <summary>What statx(2) tells about an open file. Device and inode together identify it.</summary>
/// <param name="Device">Device that holds the file: major in the upper 32 bits, minor in the lower.</param>
/// <param name="Inode">Inode number.</param>
/// <param name="Size">Length in bytes; 0 for block devices.</param>
/// <param name="AllocatedBytes">Bytes allocated on the medium.</param>
/// <param name="Kind">Kind of file.</param>
/// <param name="BlockSize">Preferred block size; the huge page size on hugetlbfs.</param>
/// <param name="RepresentedDevice">The device that a device node stands for, coded like <paramref name="Device"/>.</param>
public readonly record struct FileStatus(
    ulong Device, ulong Inode, ulong Size, ulong AllocatedBytes, FileKind Kind, uint BlockSize, ulong RepresentedDevice)
{
    /// <summary>The owner's user id.</summary>
    public uint OwnerUserId { get; init; }

    /// <summary>The owning group's id.</summary>
    public uint OwnerGroupId { get; init; }

    /// <summary>The permission bits, as chmod(2) counts them.</summary>
    public UnixFileMode Permissions { get; init; }

    private const int AT_EMPTY_PATH = 0x1000; // linux/fcntl.h
    private const uint STATX_BASIC_STATS = 0x7ff; // linux/stat.h
    private const int AT_FDCWD = -100; // linux/fcntl.h

    /// <summary>The status of an open file.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static FileStatus Of(int fd) => Query(fd, "", $"fd {fd}");

    /// <summary>The status of a path; symbolic links are followed.</summary>
    /// <param name="path">The path.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static FileStatus Of(string path) => Query(AT_FDCWD, path, path);

    private static unsafe FileStatus Query(int fd, string path, string detail)
    {
        // SAFETY: the structure has the size of struct statx, which the kernel fills.
        Statx s = default;
        if (Libc.statx(fd, path, path.Length == 0 ? AT_EMPTY_PATH : 0, STATX_BASIC_STATS, &s) != 0)
        {
            throw LinuxException.Last("statx", detail);
        }

        int type = s.Mode & 0xF000;
        FileKind kind = Enum.IsDefined((FileKind)type) ? (FileKind)type : FileKind.Other;
        return new FileStatus(
            ((ulong)s.DeviceMajor << 32) | s.DeviceMinor, s.Inode, s.Size, s.Blocks * 512, kind, s.BlockSize,
            ((ulong)s.RepresentedMajor << 32) | s.RepresentedMinor)
        {
            OwnerUserId = s.UserId,
            OwnerGroupId = s.GroupId,
            Permissions = (UnixFileMode)(s.Mode & 0xFFF),
        };
    }
}

/// <summary>struct statx (linux/stat.h), the same on every architecture.</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
internal struct Statx
{
    [FieldOffset(0)] public uint Mask;
    [FieldOffset(4)] public uint BlockSize;
    [FieldOffset(16)] public uint LinkCount;
    [FieldOffset(20)] public uint UserId;
    [FieldOffset(24)] public uint GroupId;
    [FieldOffset(28)] public ushort Mode;
    [FieldOffset(32)] public ulong Inode;
    [FieldOffset(40)] public ulong Size;
    [FieldOffset(48)] public ulong Blocks;
    [FieldOffset(128)] public uint RepresentedMajor;
    [FieldOffset(132)] public uint RepresentedMinor;
    [FieldOffset(136)] public uint DeviceMajor;
    [FieldOffset(140)] public uint DeviceMinor;
}

internal static partial class Libc
{
    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static unsafe partial int statx(int fd, string path, int flags, uint mask, Statx* status);
}
