using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>An eventfd(2): a 64-bit counter in the kernel that wakes epoll, KVM or a device driver.</summary>
/// <remarks>
/// The raw members take a descriptor number, count no references and allocate nothing: they are for a data path whose
/// owner keeps the descriptor open. All members are thread-safe, as the kernel's counter is.
/// </remarks>
public sealed class EventFd : FileDescriptor
{
    private const int EFD_SEMAPHORE = 1; // sys/eventfd.h
    private const int EFD_NONBLOCK = 0x800; // sys/eventfd.h
    private const int EFD_CLOEXEC = 0x80000; // sys/eventfd.h

    /// <summary>Takes ownership of a descriptor that is an eventfd.</summary>
    /// <param name="fd">The descriptor number.</param>
    public EventFd(int fd)
        : base(fd)
    {
    }

    /// <summary>Creates an eventfd.</summary>
    /// <param name="initialCount">The initial count.</param>
    /// <param name="nonBlocking">Whether reads and writes fail with EAGAIN instead of blocking.</param>
    /// <param name="semaphore">Whether a read takes one instead of all.</param>
    /// <exception cref="LinuxException">The kernel refuses, for example because too many files are open.</exception>
    public static EventFd Create(uint initialCount = 0, bool nonBlocking = true, bool semaphore = false)
    {
        int flags = EFD_CLOEXEC | (nonBlocking ? EFD_NONBLOCK : 0) | (semaphore ? EFD_SEMAPHORE : 0);
        int fd = Libc.eventfd(initialCount, flags);
        return fd >= 0 ? new EventFd(fd) : throw LinuxException.Last("eventfd");
    }

    /// <summary>
    /// Adds one. False means that the descriptor is no usable eventfd (closed, or of another kind). A saturated
    /// counter is a success, because whoever waits on it is woken already.
    /// </summary>
    /// <param name="fd">The descriptor number, non-blocking.</param>
    public static unsafe bool SignalRaw(int fd)
    {
        // SAFETY: the kernel reads 8 bytes of a live local.
        ulong one = 1;
        nint written = Libc.write(fd, &one, sizeof(ulong));
        return written == sizeof(ulong) || (written < 0 && Marshal.GetLastSystemError() is Errno.EAGAIN or Errno.EINTR);
    }

    /// <summary>Takes the count and resets it to zero; returns 0 where it was zero or the descriptor is not readable.</summary>
    /// <param name="fd">The descriptor number, non-blocking.</param>
    public static unsafe ulong DrainRaw(int fd)
    {
        // SAFETY: the kernel writes at most 8 bytes into a live local.
        ulong count = 0;
        return Libc.read(fd, &count, sizeof(ulong)) == sizeof(ulong) ? count : 0;
    }

    /// <summary>Adds one and wakes whoever waits.</summary>
    /// <exception cref="LinuxException">The descriptor is not an eventfd.</exception>
    public void Signal()
    {
        if (!SignalRaw(Raw))
        {
            throw new LinuxException("write", Errno.EINVAL, $"eventfd {Raw}");
        }
    }

    /// <summary>Takes the count and resets it to zero (or takes one in semaphore mode); 0 where nothing was signalled.</summary>
    public ulong Drain() => DrainRaw(Raw);
}

internal static partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int eventfd(uint count, int flags);

    [LibraryImport(Library)]
    internal static unsafe partial nint write(int fd, void* buffer, nint length);

    [LibraryImport(Library)]
    internal static unsafe partial nint read(int fd, void* buffer, nint length);
}
