using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Linux;

/// <summary>An owned file descriptor; closing it is idempotent and happens once. Descriptors made here are close-on-exec.</summary>
public class FileDescriptor : SafeHandleMinusOneIsInvalid
{
    private const int F_DUPFD_CLOEXEC = 1030; // linux/fcntl.h
    private const int O_CLOEXEC = 0x80000; // asm-generic/fcntl.h
    private const int F_GETFL = 3; // asm-generic/fcntl.h
    private const int F_SETFL = 4; // asm-generic/fcntl.h
    private const int O_NONBLOCK = 0x800; // asm-generic/fcntl.h

    /// <summary>Takes ownership of a descriptor.</summary>
    /// <param name="fd">The descriptor number; -1 makes an invalid handle.</param>
    public FileDescriptor(int fd)
        : base(ownsHandle: true) => SetHandle(fd);

    /// <summary>The descriptor number. The caller keeps this object alive while the number is in use.</summary>
    /// <exception cref="ObjectDisposedException">The descriptor is closed.</exception>
    public int Raw
    {
        get
        {
            ObjectDisposedException.ThrowIf(IsClosed || IsInvalid, this);
            return (int)handle;
        }
    }

    /// <summary>Closes a descriptor number that no <see cref="FileDescriptor"/> owns; negative numbers are ignored.</summary>
    /// <param name="fd">The descriptor number.</param>
    public static void CloseRaw(int fd)
    {
        if (fd >= 0)
        {
            _ = Libc.close(fd);
        }
    }

    /// <summary>Duplicates a descriptor number that the caller does not own; the copy is close-on-exec.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <exception cref="LinuxException">The kernel refuses, for example because too many files are open.</exception>
    public static FileDescriptor DuplicateRaw(int fd)
    {
        int copy = Libc.fcntl(fd, F_DUPFD_CLOEXEC, 0);
        return copy >= 0 ? new FileDescriptor(copy) : throw LinuxException.Last("fcntl(F_DUPFD_CLOEXEC)", $"fd {fd}");
    }

    /// <summary>Duplicates this descriptor; both refer to the same open file description.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public FileDescriptor Duplicate() => DuplicateRaw(Raw);

    /// <summary>
    /// Makes this number refer to what <paramref name="source"/> refers to, in one step: whoever uses the number on another thread meets the former
    /// file or the new one, never a closed or foreign one.
    /// </summary>
    /// <param name="source">What to refer to from now on; it stays the caller's.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void RedirectTo(FileDescriptor source)
    {
        ArgumentNullException.ThrowIfNull(source);
        if (Libc.dup3(source.Raw, Raw, O_CLOEXEC) < 0)
        {
            throw LinuxException.Last("dup3", $"fd {source.Raw} onto {Raw}");
        }
    }

    /// <summary>Gives up ownership and returns the number; this object is closed afterwards without closing the descriptor.</summary>
    public int Detach()
    {
        int fd = Raw;
        SetHandleAsInvalid();
        return fd;
    }

    /// <summary>
    /// Sets or clears O_NONBLOCK. The flag belongs to the open file description: whoever else holds a duplicate shares it.
    /// </summary>
    /// <param name="nonBlocking">The wanted state.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void SetNonBlocking(bool nonBlocking)
    {
        int flags = Libc.fcntl(Raw, F_GETFL, 0);
        if (flags < 0)
        {
            throw LinuxException.Last("fcntl(F_GETFL)", $"fd {Raw}");
        }

        int wanted = nonBlocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
        if (wanted != flags && Libc.fcntl(Raw, F_SETFL, wanted) < 0)
        {
            throw LinuxException.Last("fcntl(F_SETFL)", $"fd {Raw}");
        }
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => Libc.close((int)handle) == 0;
}

internal static partial class Libc
{
    // The runtime maps the bare name to the C library of the system (libc.so.6 on glibc).
    private const string Library = "libc";

    [LibraryImport(Library)]
    internal static partial int close(int fd);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int fcntl(int fd, int command, nint argument);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int dup3(int oldFd, int newFd, int flags);
}
