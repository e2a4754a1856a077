using System.Buffers.Binary;
using Vhost.Linux;

namespace Vhost.VfioUser;

/// <summary>
/// Drives a device in another process. Any thread may call; a call blocks until the server answers, at most for the time limit, after which the
/// connection is given up. Each call throws <see cref="VfioUserException"/> where the server refuses or has gone.
/// </summary>
public sealed partial class VfioUserClient : IDisposable
{
    private const int RegionInfoBytes = 32; // struct vfio_region_info, linux/vfio.h
    private const int MaxReplyBytes = 64 * 1024;
    private const uint MaxRegions = 256;
    private const uint MaxIrqTypes = 64;

    private readonly VfioUserChannel _channel;
    private readonly EventFd _stop = EventFd.Create();
    private readonly CancellationTokenSource _disconnected = new();
    private readonly Lock _dmaLock = new();
    private readonly SortedList<ulong, VfioUserClientDma> _dma = [];
    private readonly Thread _thread;
    private bool _disposed;

    private VfioUserClient(UnixSocket socket, string path, int timeoutMilliseconds)
    {
        Path = path;
        Disconnected = _disconnected.Token;
        var limits = new VfioUserLimits((int)VfioUserSession.MaxDataTransferBytes + MaxReplyBytes, VfioUserSession.MaxMessageFds, timeoutMilliseconds);
        _channel = new VfioUserChannel(socket, _stop, limits);
        _thread = new Thread(Receive) { IsBackground = true, Name = "vfio-user client" };
    }

    /// <summary>Path of the server's socket.</summary>
    public string Path { get; }

    /// <summary>What the server can do.</summary>
    public VfioUserCapabilities Server { get; private set; } = new();

    /// <summary>What the device is.</summary>
    public VfioUserDeviceInfo Device { get; private set; }

    /// <summary>Cancelled when the server has gone or broke the protocol, also while nothing is called.</summary>
    public CancellationToken Disconnected { get; }

    /// <summary>Why the connection ended; null while it stands.</summary>
    public string? DisconnectReason => _channel.Failure;

    /// <summary>Connects, agrees on the version and asks what the device is.</summary>
    /// <param name="path">Path of the server's socket.</param>
    /// <param name="timeoutMilliseconds">For the connection and for each answer later on.</param>
    /// <exception cref="VfioUserException">The server refuses, or answers nonsense.</exception>
    /// <exception cref="LinuxException">Nobody listens at the path.</exception>
    public static VfioUserClient Connect(string path, int timeoutMilliseconds = 10_000)
    {
        UnixSocket socket = UnixSocket.Create();
        try
        {
            socket.Connect(path, timeoutMilliseconds);
        }
        catch
        {
            socket.Dispose();
            throw;
        }

        var client = new VfioUserClient(socket, path, timeoutMilliseconds);
        client._thread.Start();
        try
        {
            client.Negotiate();
            return client;
        }
        catch
        {
            client.Dispose();
            throw;
        }
    }

    /// <summary>Asks for a region. The caller disposes it.</summary>
    /// <param name="index">Index of the region.</param>
    public VfioUserClientRegion GetRegion(int index)
    {
        byte[] request = new byte[RegionInfoBytes];
        Put(request, 8, (uint)index);
        int room = RegionInfoBytes;
        for (int attempt = 0; attempt < 2; attempt++)
        {
            Put(request, 0, (uint)room);
            using VfioUserMessage reply = Request(VfioUserCommand.DeviceGetRegionInfo, request, RegionInfoBytes);
            uint needed = U32(reply.Payload, 0);
            if (needed > room && attempt == 0)
            {
                room = needed <= MaxReplyBytes ? (int)needed : throw Broken($"the server describes region {index} with {needed} bytes");
                continue;
            }

            return ParseRegion(index, reply);
        }

        throw Broken($"the server's description of region {index} grows with each request");
    }

    /// <summary>Asks for the eventfds that stand for writes to a region; empty where the server has none.</summary>
    /// <param name="index">Index of the region.</param>
    public IReadOnlyList<VfioUserClientIoEventFd> GetRegionIoEventFds(int index)
    {
        const int EntryBytes = 40;
        byte[] request = new byte[16];
        Put(request, 0, MaxReplyBytes);
        Put(request, 8, (uint)index);
        using VfioUserMessage reply = Request(VfioUserCommand.DeviceGetRegionIoFds, request, 16);
        uint count = U32(reply.Payload, 12);
        if (count > (reply.Payload.Length - 16) / EntryBytes)
        {
            throw Broken($"the server names {count} eventfds of region {index} in {reply.Payload.Length} bytes");
        }

        var fds = new FileDescriptor[reply.FdCount];
        for (int i = 0; i < fds.Length; i++)
        {
            fds[i] = reply.TakeFd(i);
        }

        var result = new List<VfioUserClientIoEventFd>();
        try
        {
            for (int i = 0; i < count; i++)
            {
                ReadOnlySpan<byte> entry = reply.Payload.AsSpan(16 + (i * EntryBytes), EntryBytes);
                uint fd = U32(entry, 16);
                if (fd >= (uint)fds.Length)
                {
                    throw Broken($"the server names descriptor {fd} of {fds.Length} for region {index}");
                }

                // Type 0 is an ioeventfd; the other types are for hypervisors.
                if (U32(entry, 20) == 0)
                {
                    ulong? match = (U32(entry, 24) & 1) != 0 ? U64(entry, 32) : null;
                    result.Add(new VfioUserClientIoEventFd(U64(entry, 0), U64(entry, 8), match, fds[fd].Duplicate()));
                }
            }

            return result;
        }
        catch
        {
            result.ForEach(r => r.Fd.Dispose());
            throw;
        }
        finally
        {
            Array.ForEach(fds, f => f.Dispose());
        }
    }

    /// <summary>Reads from a region.</summary>
    /// <param name="region">Index of the region.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="destination">What to fill, wholly.</param>
    public void ReadRegion(int region, ulong offset, Span<byte> destination)
    {
        Span<byte> request = stackalloc byte[16];
        while (!destination.IsEmpty)
        {
            int count = (int)Math.Min((uint)destination.Length, TransferLimit);
            WriteAccess(request, offset, (uint)region, (uint)count);
            using VfioUserMessage reply = Request(VfioUserCommand.RegionRead, request, 16);
            if (U32(reply.Payload, 12) != (uint)count || reply.Payload.Length != 16 + count)
            {
                throw Broken($"the server answered a read of {count} bytes with {reply.Payload.Length - 16}");
            }

            reply.Payload.AsSpan(16).CopyTo(destination);
            destination = destination[count..];
            offset += (ulong)count;
        }
    }

    /// <summary>Writes to a region; returns when the device has taken it.</summary>
    /// <param name="region">Index of the region.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="source">What to write.</param>
    public void WriteRegion(int region, ulong offset, ReadOnlySpan<byte> source)
    {
        Span<byte> request = stackalloc byte[16];
        while (!source.IsEmpty)
        {
            int count = (int)Math.Min((uint)source.Length, TransferLimit);
            WriteAccess(request, offset, (uint)region, (uint)count);
            using VfioUserMessage reply = _channel.Request(VfioUserCommand.RegionWrite, request, source[..count]);
            source = source[count..];
            offset += (ulong)count;
        }
    }

    /// <summary>Writes several registers, in one message where the server can.</summary>
    /// <param name="writes">Region, offset, width (1 to 8 bytes) and value of each write, in order.</param>
    public void WriteRegions(ReadOnlySpan<(int Region, ulong Offset, int Width, ulong Value)> writes)
    {
        Span<byte> value = stackalloc byte[8];
        foreach (var write in writes)
        {
            ArgumentOutOfRangeException.ThrowIfNegativeOrZero(write.Width);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(write.Width, 8);
            if (!Server.WriteMultiple)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(value, write.Value);
                WriteRegion(write.Region, write.Offset, value[..write.Width]);
            }
        }

        if (!Server.WriteMultiple || writes.IsEmpty)
        {
            return;
        }

        byte[] request = new byte[8 + (writes.Length * 24)];
        BinaryPrimitives.WriteUInt64LittleEndian(request, (ulong)writes.Length);
        for (int i = 0; i < writes.Length; i++)
        {
            Span<byte> entry = request.AsSpan(8 + (i * 24));
            WriteAccess(entry, writes[i].Offset, (uint)writes[i].Region, (uint)writes[i].Width);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[16..], writes[i].Value);
        }

        using VfioUserMessage reply = Request(VfioUserCommand.RegionWriteMulti, request, 8);
        if (U64(reply.Payload, 0) != (ulong)writes.Length)
        {
            throw new VfioUserException(Errno.EIO, $"the server did {U64(reply.Payload, 0)} of {writes.Length} writes");
        }
    }

    /// <summary>Asks for an interrupt type.</summary>
    /// <param name="index">Index of the interrupt type.</param>
    public VfioUserIrq GetIrq(int index)
    {
        byte[] request = new byte[16];
        Put(request, 0, 16);
        Put(request, 8, (uint)index);
        using VfioUserMessage reply = Request(VfioUserCommand.DeviceGetIrqInfo, request, 16);
        uint count = U32(reply.Payload, 12);
        return count <= 4096
            ? new VfioUserIrq(count, (VfioUserIrqFlags)U32(reply.Payload, 4))
            : throw Broken($"the server claims {count} vectors of the interrupt type {index}");
    }

    /// <summary>Connects vectors with eventfds, which stay the caller's.</summary>
    /// <param name="index">Index of the interrupt type.</param>
    /// <param name="start">First vector.</param>
    /// <param name="eventFds">Descriptor numbers by vector.</param>
    public void SetIrqEventFds(int index, int start, ReadOnlySpan<int> eventFds)
    {
        const uint EventFdTrigger = 4 | 32; // VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER
        int most = Math.Clamp(Server.MaxMessageFds, 1, UnixSocket.MaxDescriptors);
        while (!eventFds.IsEmpty)
        {
            int count = Math.Min(most, eventFds.Length);
            SetIrqs(index, EventFdTrigger, (uint)start, (uint)count, eventFds[..count]);
            start += count;
            eventFds = eventFds[count..];
        }
    }

    /// <summary>Disconnects all vectors of an interrupt type.</summary>
    /// <param name="index">Index of the interrupt type.</param>
    public void DisableIrqs(int index) => SetIrqs(index, 1 | 32, 0, 0, []);

    /// <summary>Masks or unmasks a vector.</summary>
    /// <param name="index">Index of the interrupt type.</param>
    /// <param name="vector">Vector.</param>
    /// <param name="isMasked">The wanted state.</param>
    public void SetIrqMasked(int index, int vector, bool isMasked) => SetIrqs(index, 1 | (isMasked ? 8u : 16u), (uint)vector, 1, []);

    /// <summary>Raises a vector, as the device would.</summary>
    /// <param name="index">Index of the interrupt type.</param>
    /// <param name="vector">Vector.</param>
    public void TriggerIrq(int index, int vector) => SetIrqs(index, 1 | 32, (uint)vector, 1, []);

    /// <summary>Lets the device reach memory.</summary>
    /// <param name="dma">The memory; it stays valid until <see cref="UnmapDma"/> has returned or this client is disposed.</param>
    public void MapDma(VfioUserClientDma dma)
    {
        VfioUserDma.Check(dma.Iova, dma.Size);
        byte[] request = new byte[32];
        Put(request, 0, 32);
        Put(request, 4, (dma.IsReadable ? 1u : 0) | (dma.IsWritable ? 2u : 0));
        BinaryPrimitives.WriteUInt64LittleEndian(request.AsSpan(8), dma.FileOffset);
        BinaryPrimitives.WriteUInt64LittleEndian(request.AsSpan(16), dma.Iova);
        BinaryPrimitives.WriteUInt64LittleEndian(request.AsSpan(24), dma.Size);
        lock (_dmaLock)
        {
            if (!_dma.TryAdd(dma.Iova, dma))
            {
                throw new VfioUserException(Errno.EEXIST, $"the DMA region 0x{dma.Iova:x} is mapped already");
            }
        }

        try
        {
            _channel.Request(VfioUserCommand.DmaMap, request, default, dma.Fd >= 0 ? [dma.Fd] : []).Dispose();
        }
        catch
        {
            Forget(dma.Iova);
            throw;
        }
    }

    /// <summary>Takes memory away from the device; once this has returned the device does not use it, or has gone.</summary>
    /// <param name="iova">First device address.</param>
    /// <param name="size">Length in bytes, as mapped.</param>
    public void UnmapDma(ulong iova, ulong size)
    {
        byte[] request = new byte[24];
        Put(request, 0, 24);
        BinaryPrimitives.WriteUInt64LittleEndian(request.AsSpan(8), iova);
        BinaryPrimitives.WriteUInt64LittleEndian(request.AsSpan(16), size);
        try
        {
            _channel.Request(VfioUserCommand.DmaUnmap, request).Dispose();
        }
        finally
        {
            Forget(iova);
        }
    }

    /// <summary>Resets the device.</summary>
    public void Reset() => _channel.Request(VfioUserCommand.DeviceReset, default).Dispose();

    /// <summary>Ends the connection and stops the thread. The device lets go of the memory when it notices.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _stop.Signal();
        if (Thread.CurrentThread != _thread)
        {
            _thread.Join();
        }

        _channel.Dispose();
        _stop.Dispose();
        _disconnected.Dispose();
    }

    private static void WriteAccess(Span<byte> request, ulong offset, uint region, uint count)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(request, offset);
        BinaryPrimitives.WriteUInt32LittleEndian(request[8..], region);
        BinaryPrimitives.WriteUInt32LittleEndian(request[12..], count);
    }

    private static uint U32(ReadOnlySpan<byte> p, int at) => BinaryPrimitives.ReadUInt32LittleEndian(p[at..]);

    private static ulong U64(ReadOnlySpan<byte> p, int at) => BinaryPrimitives.ReadUInt64LittleEndian(p[at..]);

    private static void Put(Span<byte> p, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(p[at..], value);
}
