using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>
/// Advisory locks of a whole open file: OFD locks (fcntl_locking(2)), which belong to the open file description, not to the process,
/// and end with its last close; and flock(2).
/// </summary>
public static unsafe class FileLock
{
    private const int F_OFD_GETLK = 36; // linux/fcntl.h
    private const int F_OFD_SETLK = 37; // linux/fcntl.h
    private const short F_RDLCK = 0; // asm-generic/fcntl.h
    private const short F_WRLCK = 1; // asm-generic/fcntl.h
    private const short F_UNLCK = 2; // asm-generic/fcntl.h
    private const int LOCK_SH = 1; // sys/file.h
    private const int LOCK_EX = 2; // sys/file.h
    private const int LOCK_NB = 4; // sys/file.h
    private const int LOCK_UN = 8; // sys/file.h

    /// <summary>Tries to take an OFD lock on a byte range; false where somebody else holds a conflicting one.</summary>
    /// <param name="fd">The descriptor number; open for writing where the lock is exclusive.</param>
    /// <param name="exclusive">Whether to exclude readers as well.</param>
    /// <param name="start">First byte.</param>
    /// <param name="length">Length in bytes; 0 for all that follows.</param>
    /// <exception cref="LinuxException">The file cannot be locked.</exception>
    public static bool TryLock(int fd, bool exclusive, ulong start = 0, ulong length = 0) =>
        Set(fd, exclusive ? F_WRLCK : F_RDLCK, start, length);

    /// <summary>Gives an OFD lock back.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="start">First byte.</param>
    /// <param name="length">Length in bytes; 0 for all that follows.</param>
    /// <exception cref="LinuxException">The file cannot be locked.</exception>
    public static void Unlock(int fd, ulong start = 0, ulong length = 0) => _ = Set(fd, F_UNLCK, start, length);

    /// <summary>Whether somebody else holds a lock that conflicts.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="exclusive">Which lock to ask for.</param>
    /// <param name="start">First byte.</param>
    /// <param name="length">Length in bytes; 0 for all that follows.</param>
    /// <exception cref="LinuxException">The file cannot be locked.</exception>
    public static bool IsLockedByOther(int fd, bool exclusive, ulong start = 0, ulong length = 0)
    {
        FileLockRange range = Range(exclusive ? F_WRLCK : F_RDLCK, start, length);
        return Libc.fcntl(fd, F_OFD_GETLK, (nint)(&range)) == 0
            ? range.Type != F_UNLCK
            : throw LinuxException.Last("fcntl(F_OFD_GETLK)", $"fd {fd}");
    }

    /// <summary>Tries to take a flock(2); false where somebody else holds a conflicting one.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="exclusive">Exclusive or shared.</param>
    /// <exception cref="LinuxException">The file cannot be locked.</exception>
    public static bool TryFlock(int fd, bool exclusive) =>
        Libc.flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0
        || (Marshal.GetLastPInvokeError() == Errno.EAGAIN ? false : throw LinuxException.Last("flock", $"fd {fd}"));

    /// <summary>Gives a flock(2) back.</summary>
    /// <param name="fd">The descriptor number.</param>
    public static void Funlock(int fd) => _ = Libc.flock(fd, LOCK_UN);

    private static bool Set(int fd, short type, ulong start, ulong length)
    {
        FileLockRange range = Range(type, start, length);
        if (Libc.fcntl(fd, F_OFD_SETLK, (nint)(&range)) == 0)
        {
            return true;
        }

        return Marshal.GetLastPInvokeError() is Errno.EAGAIN or Errno.EACCES
            ? false
            : throw LinuxException.Last("fcntl(F_OFD_SETLK)", $"fd {fd}");
    }

    private static FileLockRange Range(short type, ulong start, ulong length) =>
        new() { Type = type, Start = (long)start, Length = (long)length };
}

/// <summary>struct flock (asm-generic/fcntl.h), 64-bit.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
internal struct FileLockRange
{
    [FieldOffset(0)] public short Type;
    [FieldOffset(2)] public short Whence;
    [FieldOffset(8)] public long Start;
    [FieldOffset(16)] public long Length;
    [FieldOffset(24)] public int ProcessId;
}

internal static partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int flock(int fd, int operation);
}
