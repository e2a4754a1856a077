using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;

namespace Vhost.Linux;

/// <summary>Type of a unix socket (bits/socket_type.h).</summary>
public enum UnixSocketType
{
    /// <summary>SOCK_STREAM.</summary>
    Stream = 1,

    /// <summary>SOCK_SEQPACKET: message boundaries are kept.</summary>
    SequentialPacket = 5,
}

/// <summary>Who is at the other end of a unix socket, as the kernel recorded at connect (struct ucred).</summary>
/// <param name="ProcessId">Process id in our namespace; 0 where it has none.</param>
/// <param name="UserId">Effective user id.</param>
/// <param name="GroupId">Effective group id.</param>
public readonly record struct PeerCredentials(int ProcessId, uint UserId, uint GroupId);

/// <summary>What a wait ended with.</summary>
public enum WaitResult
{
    /// <summary>The socket is ready, or closed by the peer: the next call tells.</summary>
    Ready,

    /// <summary>The time is over.</summary>
    TimedOut,

    /// <summary>The wake descriptor was signalled.</summary>
    Woken,
}

/// <summary>
/// A unix domain socket. Sending and receiving of messages with descriptors are in the other part of this class. One thread may send while another
/// receives; <see cref="Shutdown"/> may come from any thread.
/// </summary>
public sealed unsafe partial class UnixSocket : FileDescriptor
{
    private const int AF_UNIX = 1; // bits/socket.h
    private const int SOL_SOCKET = 1; // asm-generic/socket.h
    private const int SO_SNDBUF = 7; // asm-generic/socket.h
    private const int SO_RCVBUF = 8; // asm-generic/socket.h
    private const int SO_ERROR = 4; // asm-generic/socket.h
    private const int SO_PEERCRED = 17; // asm-generic/socket.h
    private const int SOCK_CLOEXEC = 0x80000; // bits/socket_type.h
    private const int SHUT_RDWR = 2; // sys/socket.h
    private const int AddressCapacity = 110; // sizeof(struct sockaddr_un), linux/un.h

    /// <summary>Takes ownership of a descriptor that is a unix socket.</summary>
    /// <param name="fd">The descriptor number.</param>
    public UnixSocket(int fd)
        : base(fd)
    {
    }

    /// <summary>Longest path in bytes (UTF-8) that a unix socket address holds.</summary>
    public static int MaxPathBytes => AddressCapacity - sizeof(ushort) - 1;

    /// <summary>Creates an unconnected socket.</summary>
    /// <param name="type">Stream or sequential packets.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static UnixSocket Create(UnixSocketType type = UnixSocketType.Stream)
    {
        int fd = Libc.socket(AF_UNIX, (int)type | SOCK_CLOEXEC, 0);
        return fd >= 0 ? new UnixSocket(fd) : throw LinuxException.Last("socket");
    }

    /// <summary>Creates a connected pair.</summary>
    /// <param name="type">Stream or sequential packets.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static (UnixSocket First, UnixSocket Second) CreatePair(UnixSocketType type = UnixSocketType.Stream)
    {
        int* fds = stackalloc int[2];
        return Libc.socketpair(AF_UNIX, (int)type | SOCK_CLOEXEC, 0, fds) == 0
            ? (new UnixSocket(fds[0]), new UnixSocket(fds[1]))
            : throw LinuxException.Last("socketpair");
    }

    /// <summary>Binds to a path and listens.</summary>
    /// <param name="path">Path of the socket file, which must not exist.</param>
    /// <param name="backlog">Connections that may wait.</param>
    /// <exception cref="LinuxException">The kernel refuses; EADDRINUSE where the file exists.</exception>
    /// <exception cref="ArgumentException">The path is empty or too long.</exception>
    public void BindAndListen(string path, int backlog = 16)
    {
        byte* address = stackalloc byte[AddressCapacity];
        int length = WriteAddress(path, address);
        if (Libc.bind(Raw, address, length) != 0)
        {
            throw LinuxException.Last("bind", path);
        }

        if (Libc.listen(Raw, backlog) != 0)
        {
            throw LinuxException.Last("listen", path);
        }
    }

    /// <summary>Takes a waiting connection; null where none waits and this socket is non-blocking, or the peer has gone already.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public UnixSocket? Accept()
    {
        while (true)
        {
            int fd = Libc.accept4(Raw, null, null, SOCK_CLOEXEC);
            if (fd >= 0)
            {
                return new UnixSocket(fd);
            }

            switch (Marshal.GetLastPInvokeError())
            {
                case Errno.EINTR:
                    continue;
                case Errno.EAGAIN or 103: // ECONNABORTED
                    return null;
                default:
                    throw LinuxException.Last("accept4");
            }
        }
    }

    /// <summary>Connects to a path; waits while the listener's backlog is full, at most as long as the kernel's send timeout says.</summary>
    /// <param name="path">Path of the socket file.</param>
    /// <param name="timeoutMilliseconds">Above zero.</param>
    /// <exception cref="LinuxException">Nobody listens, or ETIMEDOUT/EAGAIN where the backlog stays full.</exception>
    /// <exception cref="ArgumentException">The path is empty or too long.</exception>
    public void Connect(string path, int timeoutMilliseconds = 5000)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(timeoutMilliseconds);
        byte* address = stackalloc byte[AddressCapacity];
        int length = WriteAddress(path, address);

        // A blocking connect of a unix socket waits for room in the backlog and obeys SO_SNDTIMEO.
        SetSendTimeout(timeoutMilliseconds);
        while (Libc.connect(Raw, address, length) != 0)
        {
            if (Marshal.GetLastPInvokeError() != Errno.EINTR)
            {
                throw LinuxException.Last("connect", path);
            }
        }

        SetSendTimeout(0);
    }

    /// <summary>Bounds how long a blocking send waits; it then fails with EAGAIN.</summary>
    /// <param name="milliseconds">0 waits without limit.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void SetSendTimeout(int milliseconds)
    {
        const int SO_SNDTIMEO = 21; // asm-generic/socket.h, for a 64-bit time_t
        long* time = stackalloc long[2];
        time[0] = milliseconds / 1000;
        time[1] = milliseconds % 1000 * 1000L;
        if (Libc.setsockopt(Raw, SOL_SOCKET, SO_SNDTIMEO, time, 16) != 0)
        {
            throw LinuxException.Last("setsockopt(SO_SNDTIMEO)");
        }
    }

    /// <summary>Asks for buffers of a size; the kernel may give less.</summary>
    /// <param name="bytes">Size of each of the two buffers in bytes.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void SetBufferSizes(int bytes)
    {
        if (Libc.setsockopt(Raw, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(int)) != 0
            || Libc.setsockopt(Raw, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(int)) != 0)
        {
            throw LinuxException.Last("setsockopt(SO_SNDBUF)");
        }
    }

    /// <summary>The credentials of the peer.</summary>
    /// <exception cref="LinuxException">The socket is not connected.</exception>
    public PeerCredentials GetPeerCredentials()
    {
        // SAFETY: struct ucred is three 32-bit numbers (linux/socket.h).
        PeerCredentials credentials = default;
        int length = sizeof(PeerCredentials);
        return Libc.getsockopt(Raw, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0
            ? credentials
            : throw LinuxException.Last("getsockopt(SO_PEERCRED)");
    }

    /// <summary>Takes the pending error of the socket; 0 where there is none.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public int TakeError()
    {
        int error = 0;
        int length = sizeof(int);
        return Libc.getsockopt(Raw, SOL_SOCKET, SO_ERROR, &error, &length) == 0
            ? error
            : throw LinuxException.Last("getsockopt(SO_ERROR)");
    }

    /// <summary>Ends both directions: a reader here and the peer see the end of the stream. Harmless where not connected.</summary>
    public void Shutdown()
    {
        if (!IsClosed)
        {
            _ = Libc.shutdown(Raw, SHUT_RDWR);
        }
    }

    /// <summary>Waits until the socket is readable (or closed), the wake descriptor is signalled, or the time is over.</summary>
    /// <param name="timeoutMilliseconds">-1 waits without limit.</param>
    /// <param name="wakeFd">An eventfd that ends the wait, not drained here; -1 for none.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public WaitResult WaitReadable(int timeoutMilliseconds, int wakeFd = -1) => Wait(Poll.POLLIN, timeoutMilliseconds, wakeFd);

    /// <summary>Waits until the socket is writable (or closed), the wake descriptor is signalled, or the time is over.</summary>
    /// <param name="timeoutMilliseconds">-1 waits without limit.</param>
    /// <param name="wakeFd">An eventfd that ends the wait, not drained here; -1 for none.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public WaitResult WaitWritable(int timeoutMilliseconds, int wakeFd = -1) => Wait(Poll.POLLOUT, timeoutMilliseconds, wakeFd);

    private static int WriteAddress(string path, byte* address)
    {
        int length = Encoding.UTF8.GetByteCount(path);
        if (length == 0 || length > MaxPathBytes || path.Contains('\0', StringComparison.Ordinal))
        {
            throw new ArgumentException($"a unix socket path has 1 to {MaxPathBytes} bytes, this one has {length}: '{path}'", nameof(path));
        }

        var span = new Span<byte>(address, AddressCapacity);
        span.Clear();
        *(ushort*)address = AF_UNIX;
        _ = Encoding.UTF8.GetBytes(path, span[2..]);
        return sizeof(ushort) + length + 1;
    }

    private WaitResult Wait(short events, int timeoutMilliseconds, int wakeFd)
    {
        PollEntry* entries = stackalloc PollEntry[2];
        long deadline = Stopwatch.GetTimestamp() + (timeoutMilliseconds * (Stopwatch.Frequency / 1000));
        int left = timeoutMilliseconds;
        while (true)
        {
            entries[0] = new PollEntry { Fd = Raw, Events = events };
            entries[1] = new PollEntry { Fd = wakeFd, Events = Poll.POLLIN }; // poll(2) ignores negative descriptors
            int count = Libc.poll(entries, 2, left);
            if (count > 0)
            {
                return entries[1].ReturnedEvents != 0 ? WaitResult.Woken : WaitResult.Ready;
            }

            if (count == 0)
            {
                return WaitResult.TimedOut;
            }

            if (Marshal.GetLastPInvokeError() != Errno.EINTR)
            {
                throw LinuxException.Last("poll");
            }

            if (timeoutMilliseconds >= 0)
            {
                left = (int)Math.Max(0, (deadline - Stopwatch.GetTimestamp()) / (Stopwatch.Frequency / 1000));
            }
        }
    }
}

internal static unsafe partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int socket(int domain, int type, int protocol);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int socketpair(int domain, int type, int protocol, int* fds);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int bind(int fd, void* address, int length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int listen(int fd, int backlog);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int accept4(int fd, void* address, int* length, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int connect(int fd, void* address, int length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int shutdown(int fd, int how);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int setsockopt(int fd, int level, int name, void* value, int length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int getsockopt(int fd, int level, int name, void* value, int* length);
}
