using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>Result of <see cref="UnixSocket.Receive"/>.</summary>
/// <param name="Bytes">Bytes received; 0 means the peer closed its end (unless an empty buffer was given).</param>
/// <param name="DescriptorCount">Descriptors received, owned by the caller from now on.</param>
/// <param name="DataTruncated">MSG_TRUNC: a packet was longer than the buffer, the rest is lost.</param>
/// <param name="DescriptorsTruncated">
/// Descriptors were lost: the peer sent more than there was room for, or this process has too many files open.
/// </param>
/// <param name="WouldBlock">Nothing was there and the call was not to block.</param>
public readonly record struct ReceiveResult(
    int Bytes, int DescriptorCount, bool DataTruncated, bool DescriptorsTruncated, bool WouldBlock);

/// <content>Messages that carry file descriptors (SCM_RIGHTS, unix(7)).</content>
public sealed unsafe partial class UnixSocket
{
    /// <summary>Descriptors that one message can carry (SCM_MAX_FD, net/scm.h).</summary>
    public const int MaxDescriptors = 253;

    private const int SCM_RIGHTS = 1; // bits/socket.h
    private const int MSG_CTRUNC = 0x8; // bits/socket.h
    private const int MSG_TRUNC = 0x20; // bits/socket.h
    private const int MSG_DONTWAIT = 0x40; // bits/socket.h
    private const int MSG_NOSIGNAL = 0x4000; // bits/socket.h
    private const int MSG_CMSG_CLOEXEC = 0x40000000; // bits/socket.h
    private const int ControlHeaderBytes = 16; // CMSG_LEN(0)
    private const int ControlCapacity = ControlHeaderBytes + (MaxDescriptors * sizeof(int)) + 4 /* to 8 bytes */;

    // Room for a second control message, which only a confused or hostile peer causes; its descriptors are closed.
    private const int ReceiveControlCapacity = ControlCapacity * 2;

    /// <summary>Sends one buffer, with descriptors on its first byte. Retries on signals; may send less than given.</summary>
    /// <param name="data">The bytes; at least one where descriptors are sent.</param>
    /// <param name="descriptors">Descriptor numbers, at most <see cref="MaxDescriptors"/>; they stay the caller's.</param>
    /// <param name="blocking">Whether to wait for room.</param>
    /// <returns>Bytes sent, or 0 where there is no room and the call was not to block.</returns>
    /// <exception cref="LinuxException">EPIPE or ECONNRESET where the peer has gone; never a signal.</exception>
    public int Send(ReadOnlySpan<byte> data, ReadOnlySpan<int> descriptors = default, bool blocking = true) =>
        Send(data, default, descriptors, blocking);

    /// <summary>Sends two buffers one after the other, with descriptors on the first byte.</summary>
    /// <param name="header">The first bytes.</param>
    /// <param name="payload">The bytes that follow.</param>
    /// <param name="descriptors">Descriptor numbers, at most <see cref="MaxDescriptors"/>; they stay the caller's.</param>
    /// <param name="blocking">Whether to wait for room.</param>
    /// <returns>Bytes sent, or 0 where there is no room and the call was not to block.</returns>
    /// <exception cref="LinuxException">EPIPE or ECONNRESET where the peer has gone; never a signal.</exception>
    [SkipLocalsInit]
    public int Send(ReadOnlySpan<byte> header, ReadOnlySpan<byte> payload, ReadOnlySpan<int> descriptors, bool blocking = true)
    {
        if (descriptors.Length > MaxDescriptors)
        {
            throw new ArgumentException($"{descriptors.Length} descriptors in one message, at most {MaxDescriptors} fit", nameof(descriptors));
        }

        // SAFETY: every pointer is to a local or a pinned span that lives until sendmsg returns, and the lengths are theirs.
        byte* control = stackalloc byte[ControlCapacity];
        fixed (byte* first = header)
        fixed (byte* second = payload)
        {
            IoVector* vectors = stackalloc IoVector[2];
            vectors[0] = new IoVector(first, (nuint)header.Length);
            vectors[1] = new IoVector(second, (nuint)payload.Length);
            MessageHeader message = default;
            message.Vectors = vectors;
            message.VectorCount = payload.IsEmpty ? 1u : 2u;
            if (!descriptors.IsEmpty)
            {
                int length = ControlHeaderBytes + (descriptors.Length * sizeof(int));
                int space = (length + 7) & ~7;
                new Span<byte>(control, space).Clear();
                *(ulong*)control = (ulong)length;
                *(int*)(control + 8) = SOL_SOCKET;
                *(int*)(control + 12) = SCM_RIGHTS;
                descriptors.CopyTo(new Span<int>(control + ControlHeaderBytes, descriptors.Length));
                message.Control = control;
                message.ControlLength = (nuint)space;
            }

            while (true)
            {
                nint sent = Libc.sendmsg(Raw, &message, MSG_NOSIGNAL | (blocking ? 0 : MSG_DONTWAIT));
                if (sent >= 0)
                {
                    return (int)sent;
                }

                int error = Marshal.GetLastPInvokeError();
                if (error == Errno.EAGAIN && !blocking)
                {
                    return 0;
                }

                if (error != Errno.EINTR)
                {
                    throw LinuxException.Last("sendmsg", $"{header.Length + payload.Length} bytes, {descriptors.Length} descriptors");
                }
            }
        }
    }

    /// <summary>Sends everything: repeats until the last byte is out. Descriptors go with the first byte.</summary>
    /// <param name="header">The first bytes, at least one.</param>
    /// <param name="payload">The bytes that follow.</param>
    /// <param name="descriptors">Descriptor numbers.</param>
    /// <exception cref="LinuxException">
    /// The peer has gone, or EAGAIN where the time of <see cref="SetSendTimeout"/> is over: the stream is then out of step and must be closed.
    /// </exception>
    public void SendAll(ReadOnlySpan<byte> header, ReadOnlySpan<byte> payload = default, ReadOnlySpan<int> descriptors = default)
    {
        while (!header.IsEmpty)
        {
            int sent = Send(header, payload, descriptors);
            descriptors = default;
            int fromHeader = Math.Min(sent, header.Length);
            header = header[fromHeader..];
            payload = payload[(sent - fromHeader)..];
        }

        while (!payload.IsEmpty)
        {
            payload = payload[Send(payload)..];
        }
    }

    /// <summary>Receives what is there, with the descriptors that came along (close-on-exec).</summary>
    /// <param name="buffer">Receives the bytes.</param>
    /// <param name="descriptors">Receives the descriptors; those beyond its length are closed and reported as truncated.</param>
    /// <param name="blocking">Whether to wait for the first byte.</param>
    /// <exception cref="LinuxException">The connection broke.</exception>
    [SkipLocalsInit]
    public ReceiveResult Receive(Span<byte> buffer, Span<int> descriptors, bool blocking = true)
    {
        // SAFETY: every pointer is to a local or a pinned span that lives until recvmsg returns, and the lengths are theirs.
        ulong* controlWords = stackalloc ulong[ReceiveControlCapacity / sizeof(ulong)];
        byte* control = (byte*)controlWords;
        fixed (byte* data = buffer)
        {
            var vector = new IoVector(data, (nuint)buffer.Length);
            while (true)
            {
                MessageHeader message = default;
                message.Vectors = &vector;
                message.VectorCount = 1;
                message.Control = control;
                message.ControlLength = ReceiveControlCapacity;
                nint received = Libc.recvmsg(Raw, &message, MSG_CMSG_CLOEXEC | (blocking ? 0 : MSG_DONTWAIT));
                if (received >= 0)
                {
                    int count = TakeDescriptors(control, (int)message.ControlLength, descriptors, out bool lost);
                    return new ReceiveResult(
                        (int)received, count, (message.Flags & MSG_TRUNC) != 0, lost || (message.Flags & MSG_CTRUNC) != 0, WouldBlock: false);
                }

                int error = Marshal.GetLastPInvokeError();
                if (error == Errno.EAGAIN && !blocking)
                {
                    return new ReceiveResult(0, 0, false, false, WouldBlock: true);
                }

                if (error != Errno.EINTR)
                {
                    throw LinuxException.Last("recvmsg");
                }
            }
        }
    }

    private static int TakeDescriptors(byte* control, int controlLength, Span<int> descriptors, out bool lost)
    {
        lost = false;
        int taken = 0;
        int at = 0;
        while (controlLength - at >= ControlHeaderBytes)
        {
            ulong length = *(ulong*)(control + at);
            if (length < ControlHeaderBytes || length > (ulong)(controlLength - at))
            {
                break;
            }

            int payload = (int)length - ControlHeaderBytes;
            if (*(int*)(control + at + 8) == SOL_SOCKET && *(int*)(control + at + 12) == SCM_RIGHTS)
            {
                var fds = new ReadOnlySpan<int>(control + at + ControlHeaderBytes, payload / sizeof(int));
                foreach (int fd in fds)
                {
                    if (taken < descriptors.Length)
                    {
                        descriptors[taken++] = fd;
                    }
                    else
                    {
                        CloseRaw(fd);
                        lost = true;
                    }
                }
            }

            at += ((int)length + 7) & ~7;
        }

        return taken;
    }
}

/// <summary>struct iovec (bits/types/struct_iovec.h).</summary>
/// <param name="Base">First byte.</param>
/// <param name="Length">Length in bytes.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly unsafe struct IoVector(void* Base, nuint Length)
{
    /// <summary>First byte.</summary>
    public readonly void* Base = Base;

    /// <summary>Length in bytes.</summary>
    public readonly nuint Length = Length;
}

/// <summary>struct msghdr (bits/socket.h), 64-bit.</summary>
[StructLayout(LayoutKind.Explicit, Size = 56)]
internal unsafe struct MessageHeader
{
    [FieldOffset(0)] public void* Name;
    [FieldOffset(8)] public uint NameLength;
    [FieldOffset(16)] public IoVector* Vectors;
    [FieldOffset(24)] public nuint VectorCount;
    [FieldOffset(32)] public void* Control;
    [FieldOffset(40)] public nuint ControlLength;
    [FieldOffset(48)] public int Flags;
}

internal static unsafe partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint sendmsg(int fd, MessageHeader* message, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint recvmsg(int fd, MessageHeader* message, int flags);
}
