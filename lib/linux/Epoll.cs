using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>What to wait for, and what was seen (sys/epoll.h).</summary>
[Flags]
public enum EpollEvents : uint
{
    /// <summary>Nothing: the descriptor stays registered and reports errors and hang-up only.</summary>
    None = 0,

    /// <summary>EPOLLIN: readable.</summary>
    In = 0x1,

    /// <summary>EPOLLPRI: exceptional condition; for sysfs attributes: changed.</summary>
    Priority = 0x2,

    /// <summary>EPOLLOUT: writable.</summary>
    Out = 0x4,

    /// <summary>EPOLLERR: error; always reported.</summary>
    Error = 0x8,

    /// <summary>EPOLLHUP: hang-up; always reported.</summary>
    HangUp = 0x10,

    /// <summary>EPOLLRDHUP: the peer closed its writing half.</summary>
    PeerClosed = 0x2000,

    /// <summary>EPOLLEXCLUSIVE: wake one of several waiters.</summary>
    Exclusive = 1u << 28,

    /// <summary>EPOLLONESHOT: disarm after one report.</summary>
    OneShot = 1u << 30,

    /// <summary>EPOLLET: report edges instead of levels.</summary>
    EdgeTriggered = 1u << 31,
}

/// <summary>One report of an <see cref="Epoll"/>.</summary>
/// <param name="Events">What was seen.</param>
/// <param name="Token">The token given at registration.</param>
public readonly record struct EpollEvent(EpollEvents Events, ulong Token);

/// <summary>An epoll(7) instance. Registration is thread-safe; so is waiting, as in the kernel.</summary>
public sealed class Epoll : FileDescriptor
{
    private const int EPOLL_CLOEXEC = 0x80000; // sys/epoll.h
    private const int EPOLL_CTL_ADD = 1; // sys/epoll.h
    private const int EPOLL_CTL_DEL = 2; // sys/epoll.h
    private const int EPOLL_CTL_MOD = 3; // sys/epoll.h
    private const int MaxBatch = 64;

    // struct epoll_event is packed on x86-64 (12 bytes) and naturally aligned elsewhere (16 bytes).
    private static readonly int TokenOffset = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 4 : 8;
    private static readonly int EventSize = TokenOffset + sizeof(ulong);

    private Epoll(int fd)
        : base(fd)
    {
    }

    /// <summary>Creates an instance.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static Epoll Create()
    {
        int fd = Libc.epoll_create1(EPOLL_CLOEXEC);
        return fd >= 0 ? new Epoll(fd) : throw LinuxException.Last("epoll_create1");
    }

    /// <summary>Registers a descriptor.</summary>
    /// <param name="fd">The descriptor number; regular files are refused by the kernel with EPERM.</param>
    /// <param name="events">What to wait for.</param>
    /// <param name="token">Comes back in <see cref="EpollEvent.Token"/>.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void Add(int fd, EpollEvents events, ulong token) => Control(EPOLL_CTL_ADD, fd, events, token, "EPOLL_CTL_ADD");

    /// <summary>Changes a registration.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="events">What to wait for.</param>
    /// <param name="token">Comes back in <see cref="EpollEvent.Token"/>.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void Modify(int fd, EpollEvents events, ulong token) => Control(EPOLL_CTL_MOD, fd, events, token, "EPOLL_CTL_MOD");

    /// <summary>Ends a registration; must come before the descriptor is closed where duplicates of it exist.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void Remove(int fd) => Control(EPOLL_CTL_DEL, fd, EpollEvents.None, 0, "EPOLL_CTL_DEL");

    /// <summary>Waits; returns the number of reports, 0 on timeout or on a signal. Does not allocate.</summary>
    /// <param name="reports">Receives the reports; at most 64 are taken at once.</param>
    /// <param name="timeoutMilliseconds">-1 waits without limit, 0 polls.</param>
    /// <exception cref="LinuxException">The instance is unusable.</exception>
    [SkipLocalsInit]
    public unsafe int Wait(Span<EpollEvent> reports, int timeoutMilliseconds)
    {
        // SAFETY: the buffer holds MaxBatch events of the larger layout and the kernel is told at most MaxBatch.
        byte* buffer = stackalloc byte[MaxBatch * 16];
        int max = Math.Min(reports.Length, MaxBatch);
        int count = Libc.epoll_wait(Raw, buffer, max, timeoutMilliseconds);
        if (count < 0)
        {
            return Marshal.GetLastPInvokeError() == Errno.EINTR ? 0 : throw LinuxException.Last("epoll_wait");
        }

        for (int i = 0; i < count; i++)
        {
            byte* entry = buffer + (i * EventSize);
            reports[i] = new EpollEvent((EpollEvents)Unsafe.ReadUnaligned<uint>(entry), Unsafe.ReadUnaligned<ulong>(entry + TokenOffset));
        }

        return count;
    }

    private unsafe void Control(int operation, int fd, EpollEvents events, ulong token, string name)
    {
        // SAFETY: 16 bytes hold either layout of the structure.
        byte* entry = stackalloc byte[16];
        Unsafe.WriteUnaligned(entry, (uint)events);
        Unsafe.WriteUnaligned(entry + TokenOffset, token);
        if (Libc.epoll_ctl(Raw, operation, fd, entry) < 0)
        {
            throw LinuxException.Last($"epoll_ctl({name})", $"fd {fd}");
        }
    }
}

internal static partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int epoll_create1(int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static unsafe partial int epoll_ctl(int epfd, int operation, int fd, void* entry);

    [LibraryImport(Library, SetLastError = true)]
    internal static unsafe partial int epoll_wait(int epfd, void* entries, int max, int timeout);
}
