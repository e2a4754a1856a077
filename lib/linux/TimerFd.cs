using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>A timerfd(2) on the monotonic clock, to be waited for with <see cref="Epoll"/>.</summary>
public sealed unsafe class TimerFd : FileDescriptor
{
    private const int CLOCK_MONOTONIC = 1; // linux/time.h
    private const int TFD_NONBLOCK = 0x800; // sys/timerfd.h
    private const int TFD_CLOEXEC = 0x80000; // sys/timerfd.h

    private TimerFd(int fd)
        : base(fd)
    {
    }

    /// <summary>Creates a disarmed timer.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static TimerFd Create()
    {
        int fd = Libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        return fd >= 0 ? new TimerFd(fd) : throw LinuxException.Last("timerfd_create");
    }

    /// <summary>Arms the timer; does not allocate.</summary>
    /// <param name="first">Time to the first expiry; zero disarms.</param>
    /// <param name="period">Time between further expiries; zero for none.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void Arm(TimeSpan first, TimeSpan period = default)
    {
        long* time = stackalloc long[4];
        Write(time, period);
        Write(time + 2, first);
        if (Libc.timerfd_settime(Raw, 0, time, null) != 0)
        {
            throw LinuxException.Last("timerfd_settime");
        }
    }

    /// <summary>Takes the number of expiries since the last call.</summary>
    public ulong Drain() => EventFd.DrainRaw(Raw);

    private static void Write(long* time, TimeSpan span)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(span, TimeSpan.Zero);
        time[0] = span.Ticks / TimeSpan.TicksPerSecond;
        time[1] = span.Ticks % TimeSpan.TicksPerSecond * 100;
    }
}

internal static unsafe partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int timerfd_create(int clock, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int timerfd_settime(int fd, int flags, long* time, long* old);
}
