using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>How to open a file (asm-generic/fcntl.h and the architecture's own bits).</summary>
[Flags]
public enum OpenMode
{
    /// <summary>O_RDONLY.</summary>
    ReadOnly = 0,

    /// <summary>O_WRONLY.</summary>
    WriteOnly = 1,

    /// <summary>O_RDWR.</summary>
    ReadWrite = 2,

    /// <summary>O_CREAT, with mode 0600.</summary>
    Create = 0x40,

    /// <summary>O_EXCL: fail where it exists; on a block device: fail where it is mounted or otherwise in use.</summary>
    Exclusive = 0x80,

    /// <summary>O_TRUNC.</summary>
    Truncate = 0x200,

    /// <summary>O_NONBLOCK.</summary>
    NonBlocking = 0x800,

    /// <summary>O_DSYNC: each write is on stable storage when it returns.</summary>
    DataSync = 0x1000,

    /// <summary>O_NOATIME: reads leave the time of the last access alone. For the file's owner, or with CAP_FOWNER; others get EPERM.</summary>
    NoAccessTime = 0x40000,

    /// <summary>O_DIRECT: bypass the page cache; translated to the architecture's bit.</summary>
    Direct = 1 << 28,

    /// <summary>O_DIRECTORY; translated to the architecture's bit.</summary>
    Directory = 1 << 29,
}

/// <summary>What to do with a range of a file (linux/falloc.h).</summary>
[Flags]
public enum FallocateMode
{
    /// <summary>Allocate, extending the file where the range passes its end.</summary>
    Allocate = 0,

    /// <summary>FALLOC_FL_KEEP_SIZE.</summary>
    KeepSize = 1,

    /// <summary>FALLOC_FL_PUNCH_HOLE, always with <see cref="KeepSize"/>.</summary>
    PunchHole = 2,

    /// <summary>FALLOC_FL_ZERO_RANGE.</summary>
    ZeroRange = 0x10,
}

/// <summary>Flags of one read or write (linux/fs.h).</summary>
[Flags]
public enum ReadWriteFlags
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>RWF_HIPRI: poll for the completion.</summary>
    HighPriority = 1,

    /// <summary>RWF_DSYNC: this write is on stable storage when it returns.</summary>
    DataSync = 2,

    /// <summary>RWF_NOWAIT: fail with EAGAIN where it would block.</summary>
    NoWait = 8,
}

/// <summary>
/// Positioned file I/O. Members named Try return the byte count or the negative error number and neither throw nor allocate;
/// a short count is the caller's to continue.
/// </summary>
public static unsafe class FileIo
{
    private const int O_CLOEXEC = 0x80000; // asm-generic/fcntl.h
    private const int SEEK_DATA = 3; // linux/fs.h
    private const int SEEK_HOLE = 4; // linux/fs.h

    private static readonly bool IsArm = RuntimeInformation.ProcessArchitecture == Architecture.Arm64;

    // asm/fcntl.h: x86-64 uses the generic numbers, arm64 swaps in its own.
    private static readonly int DirectBit = IsArm ? 0x10000 : 0x4000;
    private static readonly int DirectoryBit = IsArm ? 0x4000 : 0x10000;

    /// <summary>Opens a file, close-on-exec.</summary>
    /// <param name="path">The path.</param>
    /// <param name="mode">How.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static FileDescriptor Open(string path, OpenMode mode)
    {
        int flags = (int)(mode & ~(OpenMode.Direct | OpenMode.Directory)) | O_CLOEXEC
            | (mode.HasFlag(OpenMode.Direct) ? DirectBit : 0)
            | (mode.HasFlag(OpenMode.Directory) ? DirectoryBit : 0);
        while (true)
        {
            int fd = Libc.open(path, flags, 0x180 /* 0600 */);
            if (fd >= 0)
            {
                return new FileDescriptor(fd);
            }

            if (Marshal.GetLastPInvokeError() != Errno.EINTR)
            {
                throw LinuxException.Last("open", $"{path}, {mode}");
            }
        }
    }

    /// <summary>Reads at an offset.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="buffer">Receives the bytes.</param>
    /// <param name="length">Length in bytes.</param>
    /// <param name="offset">First byte in the file.</param>
    public static nint TryRead(int fd, void* buffer, nuint length, ulong offset)
    {
        nint result = Libc.pread(fd, buffer, length, (long)offset);
        return result >= 0 ? result : -Marshal.GetLastPInvokeError();
    }

    /// <summary>Reads from a descriptor without positions: a device, a pipe.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="buffer">Receives the bytes.</param>
    /// <param name="length">Length in bytes.</param>
    public static nint TryReadStream(int fd, void* buffer, nuint length)
    {
        nint result = Libc.read(fd, buffer, (nint)length);
        return result >= 0 ? result : -Marshal.GetLastSystemError();
    }

    /// <summary>Writes at an offset.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="buffer">The bytes.</param>
    /// <param name="length">Length in bytes.</param>
    /// <param name="offset">First byte in the file.</param>
    public static nint TryWrite(int fd, void* buffer, nuint length, ulong offset)
    {
        nint result = Libc.pwrite(fd, buffer, length, (long)offset);
        return result >= 0 ? result : -Marshal.GetLastPInvokeError();
    }

    /// <summary>Reads into several buffers at an offset (preadv2(2)).</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="vectors">The buffers.</param>
    /// <param name="count">Their number, at most 1024.</param>
    /// <param name="offset">First byte in the file.</param>
    /// <param name="flags">Flags of this read.</param>
    public static nint TryReadVector(int fd, IoVector* vectors, int count, ulong offset, ReadWriteFlags flags = ReadWriteFlags.None)
    {
        nint result = Libc.preadv2(fd, vectors, count, (long)offset, (int)flags);
        return result >= 0 ? result : -Marshal.GetLastPInvokeError();
    }

    /// <summary>Writes several buffers at an offset (pwritev2(2)).</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="vectors">The buffers.</param>
    /// <param name="count">Their number, at most 1024.</param>
    /// <param name="offset">First byte in the file.</param>
    /// <param name="flags">Flags of this write.</param>
    public static nint TryWriteVector(int fd, IoVector* vectors, int count, ulong offset, ReadWriteFlags flags = ReadWriteFlags.None)
    {
        nint result = Libc.pwritev2(fd, vectors, count, (long)offset, (int)flags);
        return result >= 0 ? result : -Marshal.GetLastPInvokeError();
    }

    /// <summary>Reads exactly the given bytes at an offset.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="buffer">Receives the bytes.</param>
    /// <param name="offset">First byte in the file.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    /// <exception cref="EndOfStreamException">The file ends before.</exception>
    public static void ReadExactly(int fd, Span<byte> buffer, ulong offset)
    {
        // SAFETY: the kernel is given at most the buffer's length from its pinned start.
        fixed (byte* start = buffer)
        {
            int done = 0;
            while (done < buffer.Length)
            {
                nint count = TryRead(fd, start + done, (nuint)(buffer.Length - done), offset + (ulong)done);
                if (count == 0)
                {
                    throw new EndOfStreamException($"fd {fd} ends at {offset + (ulong)done}, {buffer.Length - done} bytes short");
                }

                if (count < 0 && count != -Errno.EINTR)
                {
                    throw new LinuxException("pread", (int)-count, $"fd {fd}, offset {offset}");
                }

                done += (int)Math.Max(0, count);
            }
        }
    }

    /// <summary>Writes all of the given bytes at an offset.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="buffer">The bytes.</param>
    /// <param name="offset">First byte in the file.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static void WriteExactly(int fd, ReadOnlySpan<byte> buffer, ulong offset)
    {
        // SAFETY: the kernel is given at most the buffer's length from its pinned start.
        fixed (byte* start = buffer)
        {
            int done = 0;
            while (done < buffer.Length)
            {
                nint count = TryWrite(fd, start + done, (nuint)(buffer.Length - done), offset + (ulong)done);
                if (count <= 0 && count != -Errno.EINTR)
                {
                    throw new LinuxException("pwrite", count == 0 ? Errno.EIO : (int)-count, $"fd {fd}, offset {offset}");
                }

                done += (int)Math.Max(0, count);
            }
        }
    }

    /// <summary>Puts written data on stable storage (fdatasync(2)); 0 or the negative error number.</summary>
    /// <param name="fd">The descriptor number.</param>
    public static int TryDataSync(int fd) => Libc.fdatasync(fd) == 0 ? 0 : -Marshal.GetLastPInvokeError();

    /// <summary>Allocates, punches or zeroes a range (fallocate(2)); 0 or the negative error number.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="mode">What to do.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Length in bytes.</param>
    public static int TryFallocate(int fd, FallocateMode mode, ulong offset, ulong length) =>
        Libc.fallocate(fd, (int)mode, (long)offset, (long)length) == 0 ? 0 : -Marshal.GetLastPInvokeError();

    /// <summary>Sets the length of a file.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="length">Length in bytes.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static void SetLength(int fd, ulong length)
    {
        if (Libc.ftruncate(fd, (long)length) != 0)
        {
            throw LinuxException.Last("ftruncate", $"fd {fd} to {length} bytes");
        }
    }

    /// <summary>First byte of data at or after an offset; null where only holes follow.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="offset">Where to start; below the file's length.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static ulong? FindData(int fd, ulong offset) => Seek(fd, offset, SEEK_DATA, "lseek(SEEK_DATA)");

    /// <summary>First byte of a hole at or after an offset; the file's length where no hole follows.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="offset">Where to start; below the file's length.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static ulong? FindHole(int fd, ulong offset) => Seek(fd, offset, SEEK_HOLE, "lseek(SEEK_HOLE)");

    private static ulong? Seek(int fd, ulong offset, int whence, string name)
    {
        long result = Libc.lseek(fd, (long)offset, whence);
        return result >= 0 ? (ulong)result
            : Marshal.GetLastPInvokeError() == Errno.ENXIO ? null
            : throw LinuxException.Last(name, $"fd {fd}, offset {offset}");
    }
}

internal static unsafe partial class Libc
{
    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int open(string path, int flags, int mode);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint pread(int fd, void* buffer, nuint length, long offset);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint pwrite(int fd, void* buffer, nuint length, long offset);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint preadv2(int fd, IoVector* vectors, int count, long offset, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint pwritev2(int fd, IoVector* vectors, int count, long offset, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int fdatasync(int fd);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int fallocate(int fd, int mode, long offset, long length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int ftruncate(int fd, long length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial long lseek(int fd, long offset, int whence);
}
