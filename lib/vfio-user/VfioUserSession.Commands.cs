using System.Buffers.Binary;
using Vhost.Linux;

namespace Vhost.VfioUser;

/// <content>Answers the client's commands. Each number of the client is checked here, before the device sees it.</content>
public sealed partial class VfioUserSession
{
    private const int RegionInfoBytes = 32; // struct vfio_region_info, linux/vfio.h
    private const int IrqInfoBytes = 16; // struct vfio_irq_info
    private const int IrqSetBytes = 20; // struct vfio_irq_set
    private const int DeviceInfoBytes = 16;
    private const int DmaMapBytes = 32;
    private const int DmaUnmapBytes = 24;
    private const int AccessBytes = 16;
    private const int WriteMultiBytes = 24;
    private const int IoFdsBytes = 16;
    private const int IoFdBytes = 40;

    // Memory that a device did not let go of: rooted here, so that no finalizer unmaps it under the device.
    private static readonly System.Collections.Concurrent.ConcurrentBag<VfioUserDmaRegion> Kept = [];

    /// <summary>Negotiates, then serves until the client has gone; returns why it ended.</summary>
    internal string Run()
    {
        string reason;
        bool connected = false;
        try
        {
            if (!Negotiate())
            {
                return "the server was stopped";
            }

            connected = true;
            _device.OnConnected(this);
            while (_channel.Receive() is { } message)
            {
                using (message)
                {
                    Serve(message);
                }
            }

            reason = "the server was stopped";
        }
        catch (VfioUserException e)
        {
            reason = e.Message;
        }
        catch (Exception e)
        {
            reason = $"the device failed: {e}";
        }

        _channel.Fail(Errno.ENOTCONN, reason);
        if (connected)
        {
            Guard(() => _device.OnDisconnected(reason), "OnDisconnected");
        }

        foreach (VfioUserDmaRegion region in Dma.Regions)
        {
            Unmap(region);
        }

        Interrupts.DisconnectAll();
        return reason;
    }

    private bool Negotiate()
    {
        using VfioUserMessage? message = _channel.Receive();
        if (message is null)
        {
            return false;
        }

        if (message.Header.Command != VfioUserCommand.Version || message.FdCount != 0)
        {
            _channel.Send(message.Header.ToError(Errno.EINVAL));
            throw new VfioUserException(Errno.EPROTO, $"the client began with {message.Header.Command} and {message.FdCount} descriptors instead of VERSION");
        }

        try
        {
            _client = VfioUserCapabilities.Decode(message.Payload, out ushort minor);

            // What is answered is what both can do: clients refuse values above their own.
            var answer = new VfioUserCapabilities
            {
                MaxMessageFds = Math.Min(MaxMessageFds, Math.Max(_client.MaxMessageFds, 1)),
                MaxDataTransferBytes = Math.Min(MaxDataTransferBytes, _client.MaxDataTransferBytes),
                MaxDmaMaps = _client.MaxDmaMaps is uint maps ? Math.Min(maps, VfioUserDma.MaxRegions) : null,
                PageSizes = _client.PageSizes is not null ? 4096 : null,
                WriteMultiple = _client.WriteMultiple,
            };
            byte[] payload = answer.Encode(Math.Min(minor, VfioUserCapabilities.MinorVersion));
            _channel.Send(message.Header.ToReply(payload.Length), payload);
            return true;
        }
        catch (VfioUserException e) when (_channel.Failure is null)
        {
            _channel.Send(message.Header.ToError(e.Error));
            throw;
        }
    }

    private void Serve(VfioUserMessage message)
    {
        VfioUserHeader header = message.Header;
        try
        {
            switch (header.Command)
            {
                case VfioUserCommand.DmaMap:
                    MapDma(message);
                    Reply(header);
                    break;
                case VfioUserCommand.DmaUnmap:
                    UnmapDma(message);
                    break;
                case VfioUserCommand.DeviceGetInfo:
                    GetDeviceInfo(message);
                    break;
                case VfioUserCommand.DeviceGetRegionInfo:
                    GetRegionInfo(message);
                    break;
                case VfioUserCommand.DeviceGetRegionIoFds:
                    GetRegionIoFds(message);
                    break;
                case VfioUserCommand.DeviceGetIrqInfo:
                    GetIrqInfo(message);
                    break;
                case VfioUserCommand.DeviceSetIrqs:
                    SetIrqs(message);
                    Reply(header);
                    break;
                case VfioUserCommand.RegionRead:
                    ReadRegion(message);
                    break;
                case VfioUserCommand.RegionWrite:
                    WriteRegion(message);
                    break;
                case VfioUserCommand.RegionWriteMulti:
                    WriteRegions(message);
                    break;
                case VfioUserCommand.DeviceReset:
                    ExpectNoFds(message);
                    _device.Reset();
                    Reply(header);
                    break;
                case VfioUserCommand.DeviceFeature:
                    throw new VfioUserException(Errno.ENOTTY, "this server offers no device features");
                default:
                    throw new VfioUserException(Errno.EINVAL, $"the command {header.Command} is none that a client may send now");
            }
        }
        catch (VfioUserException e) when (_channel.Failure is null)
        {
            _report($"refused {header.Command}: {e.Message}");
            ReplyError(header, e.Error);
        }
        catch (Exception e) when (e is not VfioUserException && _channel.Failure is null)
        {
            // A fault of the device's code: the client gets an error, the session and the process live on.
            _report($"the device failed at {header.Command}: {e}");
            ReplyError(header, Errno.EIO);
        }
        catch (Exception e) when (e is not VfioUserException)
        {
            throw new VfioUserException(Errno.ENOTCONN, _channel.Failure ?? e.Message, e);
        }
    }

    private void Reply(VfioUserHeader command, ReadOnlySpan<byte> payload = default, ReadOnlySpan<byte> data = default, ReadOnlySpan<int> fds = default)
    {
        if (!command.WantsNoReply)
        {
            _channel.Send(command.ToReply(payload.Length + data.Length), payload, data, fds);
        }
    }

    private void ReplyError(VfioUserHeader command, int error)
    {
        if (!command.WantsNoReply)
        {
            _channel.Send(command.ToError(error));
        }
    }

    private void GetDeviceInfo(VfioUserMessage message)
    {
        _ = Payload(message, DeviceInfoBytes, checkArgumentSize: true);
        ExpectNoFds(message);
        Span<byte> reply = stackalloc byte[DeviceInfoBytes];
        Put(reply, 0, DeviceInfoBytes);
        Put(reply, 4, VfioUserDeviceInfo.FlagPci | VfioUserDeviceInfo.FlagReset);
        Put(reply, 8, (uint)_device.RegionCount);
        Put(reply, 12, (uint)_device.IrqCount);
        Reply(message.Header, reply);
    }

    private void GetRegionInfo(VfioUserMessage message)
    {
        ReadOnlySpan<byte> p = Payload(message, RegionInfoBytes, checkArgumentSize: true);
        ExpectNoFds(message);
        uint room = U32(p, 0);
        int index = RegionIndex(U32(p, 8));
        VfioUserRegion region = _device.GetRegion(index);
        bool mappable = region.Size != 0 && region.MapFd >= 0;
        int areas = mappable ? region.MapAreas.Count : 0;
        int full = RegionInfoBytes + (areas == 0 ? 0 : 16 + (areas * 16));
        bool complete = room >= full;
        byte[] reply = new byte[complete ? full : RegionInfoBytes];
        Put(reply, 0, (uint)full);
        const uint FlagCaps = 8; // VFIO_REGION_INFO_FLAG_CAPS
        uint flags = region.Size == 0 ? 0 : (region.IsReadable ? 1u : 0) | (region.IsWritable ? 2u : 0) | (mappable ? 4u : 0);
        Put(reply, 8, (uint)index);
        Put64(reply, 16, region.Size);
        Put64(reply, 24, mappable ? region.MapOffset : 0);
        if (areas != 0 && complete)
        {
            flags |= FlagCaps;
            Put(reply, 12, RegionInfoBytes);
            BinaryPrimitives.WriteUInt16LittleEndian(reply.AsSpan(RegionInfoBytes), 1); // VFIO_REGION_INFO_CAP_SPARSE_MMAP
            BinaryPrimitives.WriteUInt16LittleEndian(reply.AsSpan(RegionInfoBytes + 2), 1);
            Put(reply, RegionInfoBytes + 8, (uint)areas);
            for (int i = 0; i < areas; i++)
            {
                Put64(reply, RegionInfoBytes + 16 + (i * 16), region.MapAreas[i].Offset);
                Put64(reply, RegionInfoBytes + 24 + (i * 16), region.MapAreas[i].Size);
            }
        }

        Put(reply, 4, flags);
        Reply(message.Header, reply, default, mappable && complete ? [region.MapFd] : []);
    }

    private void GetRegionIoFds(VfioUserMessage message)
    {
        ReadOnlySpan<byte> p = Payload(message, IoFdsBytes, checkArgumentSize: true);
        ExpectNoFds(message);
        uint room = U32(p, 0);
        int index = RegionIndex(U32(p, 8));
        if (U32(p, 4) != 0 || U32(p, 12) != 0)
        {
            throw new VfioUserException(Errno.EINVAL, "DEVICE_GET_REGION_IO_FDS has flags or a count");
        }

        IReadOnlyList<VfioUserIoEventFd> fds = _device.GetRegion(index).IoEventFds;
        int[] distinct = [.. fds.Select(f => f.Fd).Distinct()];
        int full = IoFdsBytes + (fds.Count * IoFdBytes);
        bool complete = room >= full && distinct.Length <= Math.Max(_client.MaxMessageFds, 1);
        byte[] reply = new byte[complete ? full : IoFdsBytes];
        Put(reply, 0, (uint)full);
        Put(reply, 8, (uint)index);
        Put(reply, 12, (uint)fds.Count);
        for (int i = 0; complete && i < fds.Count; i++)
        {
            int at = IoFdsBytes + (i * IoFdBytes);
            Put64(reply, at, fds[i].Offset);
            Put64(reply, at + 8, fds[i].Size);
            Put(reply, at + 16, (uint)Array.IndexOf(distinct, fds[i].Fd));
            Put(reply, at + 24, fds[i].DataMatch is null ? 0u : 1u /* KVM_IOEVENTFD_FLAG_DATAMATCH */);
            Put64(reply, at + 32, fds[i].DataMatch ?? 0);
        }

        Reply(message.Header, reply, default, complete ? distinct : []);
    }

    private void GetIrqInfo(VfioUserMessage message)
    {
        ReadOnlySpan<byte> p = Payload(message, IrqInfoBytes, checkArgumentSize: true);
        ExpectNoFds(message);
        int index = IrqIndex(U32(p, 8));
        Span<byte> reply = stackalloc byte[IrqInfoBytes];
        Put(reply, 0, IrqInfoBytes);
        Put(reply, 4, (uint)_device.GetIrq(index).Flags);
        Put(reply, 8, (uint)index);
        Put(reply, 12, (uint)Interrupts.Count(index));
        Reply(message.Header, reply);
    }

    private void SetIrqs(VfioUserMessage message)
    {
        ReadOnlySpan<byte> p = Payload(message, IrqSetBytes, checkArgumentSize: true);
        uint flags = U32(p, 4);
        int index = IrqIndex(U32(p, 8));
        uint start = U32(p, 12);
        uint count = U32(p, 16);
        uint vectors = (uint)Interrupts.Count(index);
        bool isNone = (flags & 7) == 1; // VFIO_IRQ_SET_DATA_NONE
        bool isBool = (flags & 7) == 2; // VFIO_IRQ_SET_DATA_BOOL
        bool isEventFd = (flags & 7) == 4; // VFIO_IRQ_SET_DATA_EVENTFD
        uint action = flags & ~7u;
        const uint Mask = 8;
        const uint Unmask = 16;
        const uint Trigger = 32;
        if (!(isNone || isBool || isEventFd) || action is not (Mask or Unmask or Trigger))
        {
            throw new VfioUserException(Errno.EINVAL, $"SET_IRQS has the impossible flags 0x{flags:x}");
        }

        if (start > vectors || count > vectors - start || (count == 0 && (start != 0 || !isNone || action != Trigger)))
        {
            throw new VfioUserException(Errno.EINVAL, $"SET_IRQS names the vectors {start} + {count} of {vectors} of the type {index}");
        }

        if ((message.FdCount != 0 && (!isEventFd || message.FdCount != count)) || (isBool && message.Payload.Length != IrqSetBytes + count))
        {
            throw new VfioUserException(Errno.EINVAL, $"SET_IRQS for {count} vectors came with {message.FdCount} descriptors and {message.Payload.Length - IrqSetBytes} bytes");
        }

        if (isEventFd && action != Trigger)
        {
            throw new VfioUserException(Errno.EOPNOTSUPP, "SET_IRQS with eventfds for masking is not offered");
        }

        if (count == 0)
        {
            for (int vector = 0; vector < vectors; vector++)
            {
                Interrupts.Connect(index, vector, null);
            }
        }

        for (int i = 0; i < count; i++)
        {
            int vector = (int)start + i;
            if (isEventFd)
            {
                Interrupts.Connect(index, vector, message.FdCount == 0 ? null : TakeEventFd(message, i));
            }
            else if (isNone || p[IrqSetBytes + i] != 0)
            {
                if (action == Trigger)
                {
                    _ = Interrupts.Trigger(index, vector);
                }
                else
                {
                    Interrupts.SetMasked(index, vector, action == Mask);
                }
            }
        }

        _device.OnIrqsChanged(index);
    }

    private static FileDescriptor TakeEventFd(VfioUserMessage message, int index)
    {
        FileDescriptor fd = message.TakeFd(index);
        try
        {
            // A counter near its end would block whoever signals it.
            fd.SetNonBlocking(true);
            return fd;
        }
        catch
        {
            fd.Dispose();
            throw;
        }
    }

    private int RegionIndex(uint index) => index < (uint)_device.RegionCount
        ? (int)index
        : throw new VfioUserException(Errno.EINVAL, $"there is no region {index}");

    private int IrqIndex(uint index) => index < (uint)_device.IrqCount
        ? (int)index
        : throw new VfioUserException(Errno.EINVAL, $"there is no interrupt type {index}");

    private static ReadOnlySpan<byte> Payload(VfioUserMessage message, int least, bool checkArgumentSize)
    {
        ReadOnlySpan<byte> payload = message.Payload;
        if (payload.Length < least || (checkArgumentSize && U32(payload, 0) < least))
        {
            throw new VfioUserException(Errno.EINVAL, $"{message.Header.Command} has {payload.Length} bytes, {least} are the least (in argsz as well)");
        }

        return payload;
    }

    private static void ExpectNoFds(VfioUserMessage message)
    {
        if (message.FdCount != 0)
        {
            throw new VfioUserException(Errno.EINVAL, $"{message.Header.Command} came with {message.FdCount} descriptors");
        }
    }

    private bool Guard(Action action, string name)
    {
        try
        {
            action();
            return true;
        }
        catch (Exception e)
        {
            _report($"the device failed at {name}: {e}");
            return false;
        }
    }

    private static uint U32(ReadOnlySpan<byte> p, int at) => BinaryPrimitives.ReadUInt32LittleEndian(p[at..]);

    private static ulong U64(ReadOnlySpan<byte> p, int at) => BinaryPrimitives.ReadUInt64LittleEndian(p[at..]);

    private static void Put(Span<byte> p, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(p[at..], value);

    private static void Put64(Span<byte> p, int at, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(p[at..], value);
}
