using Vhost.Linux;

namespace Vhost.VfioUser;

/// <content>Negotiation, the receiving thread, and the server's accesses to this process's memory.</content>
public sealed partial class VfioUserClient
{
    private uint TransferLimit => Math.Clamp(Server.MaxDataTransferBytes, 1, VfioUserSession.MaxDataTransferBytes);

    private void Negotiate()
    {
        var own = new VfioUserCapabilities
        {
            MaxMessageFds = VfioUserSession.MaxMessageFds,
            MaxDataTransferBytes = VfioUserSession.MaxDataTransferBytes,
            MaxDmaMaps = VfioUserDma.MaxRegions,
            PageSizes = 4096,
            WriteMultiple = true,
        };
        using (VfioUserMessage reply = Request(VfioUserCommand.Version, own.Encode(VfioUserCapabilities.MinorVersion), 4))
        {
            Server = VfioUserCapabilities.Decode(reply.Payload, out ushort minor);
            if (minor > VfioUserCapabilities.MinorVersion)
            {
                throw Broken($"the server chose the minor version {minor} above the proposed {VfioUserCapabilities.MinorVersion}");
            }
        }

        byte[] request = new byte[16];
        Put(request, 0, 16);
        using VfioUserMessage info = Request(VfioUserCommand.DeviceGetInfo, request, 16);
        Device = new VfioUserDeviceInfo(U32(info.Payload, 4), U32(info.Payload, 8), U32(info.Payload, 12));
        if (Device.RegionCount > MaxRegions || Device.IrqCount > MaxIrqTypes)
        {
            throw Broken($"the server claims {Device.RegionCount} regions and {Device.IrqCount} interrupt types");
        }
    }

    private VfioUserMessage Request(VfioUserCommand command, ReadOnlySpan<byte> payload, int leastReplyBytes)
    {
        VfioUserMessage reply = _channel.Request(command, payload);
        if (reply.Payload.Length >= leastReplyBytes)
        {
            return reply;
        }

        int length = reply.Payload.Length;
        reply.Dispose();
        throw Broken($"the server answered {command} with {length} bytes, {leastReplyBytes} are the least");
    }

    private VfioUserException Broken(string reason) => _channel.Fail(Errno.EPROTO, reason);

    private void SetIrqs(int index, uint flags, uint start, uint count, ReadOnlySpan<int> fds)
    {
        byte[] request = new byte[20];
        Put(request, 0, 20);
        Put(request, 4, flags);
        Put(request, 8, (uint)index);
        Put(request, 12, start);
        Put(request, 16, count);
        _channel.Request(VfioUserCommand.DeviceSetIrqs, request, default, fds).Dispose();
    }

    private VfioUserClientRegion ParseRegion(int index, VfioUserMessage reply)
    {
        ReadOnlySpan<byte> p = reply.Payload;
        uint flags = U32(p, 4);
        ulong size = U64(p, 16);
        ulong offset = U64(p, 24);
        if (U32(p, 8) != (uint)index || reply.FdCount > 1)
        {
            throw Broken($"the server answered region {index} with region {U32(p, 8)} and {reply.FdCount} descriptors");
        }

        const uint Mmap = 4; // VFIO_REGION_INFO_FLAG_MMAP
        const uint Caps = 8; // VFIO_REGION_INFO_FLAG_CAPS
        VfioUserArea[] areas = [new VfioUserArea(0, size)];
        if ((flags & Caps) != 0)
        {
            areas = ParseAreas(index, p, U32(p, 12)) ?? areas;
        }

        Array.Sort(areas, (a, b) => a.Offset.CompareTo(b.Offset));
        ulong end = 0;
        foreach (VfioUserArea area in areas)
        {
            if (area.Offset < end || area.Offset > size || area.Size > size - area.Offset)
            {
                throw Broken($"the area 0x{area.Offset:x} + 0x{area.Size:x} overlaps another or leaves the region {index} of 0x{size:x} bytes");
            }

            end = area.Offset + area.Size;
        }

        // Areas that are not made of whole pages cannot be mapped; they are trapped.
        ulong mask = MemoryMapping.PageSize - 1;
        areas = [.. areas.Where(a => a.Size != 0 && ((a.Offset | a.Size | offset) & mask) == 0)];
        FileDescriptor? file = (flags & Mmap) != 0 && reply.FdCount == 1 && areas.Length != 0 ? reply.TakeFd(0) : null;
        return new VfioUserClientRegion(index, size, (flags & 1) != 0, (flags & 2) != 0, file, offset, areas);
    }

    private VfioUserArea[]? ParseAreas(int index, ReadOnlySpan<byte> p, uint at)
    {
        // The list is bounded: each capability must lie behind the one before it.
        uint least = RegionInfoBytes;
        while (at != 0)
        {
            if (at < least || at > (uint)p.Length || p.Length - at < 16)
            {
                throw Broken($"a capability of region {index} lies at {at} in {p.Length} bytes");
            }

            ReadOnlySpan<byte> capability = p[(int)at..];
            const ushort SparseMmap = 1; // VFIO_REGION_INFO_CAP_SPARSE_MMAP
            if (System.Buffers.Binary.BinaryPrimitives.ReadUInt16LittleEndian(capability) == SparseMmap)
            {
                uint count = U32(capability, 8);
                if (count > (capability.Length - 16) / 16)
                {
                    throw Broken($"region {index} names {count} areas in {capability.Length} bytes");
                }

                var areas = new VfioUserArea[count];
                for (int i = 0; i < count; i++)
                {
                    areas[i] = new VfioUserArea(U64(capability, 16 + (i * 16)), U64(capability, 24 + (i * 16)));
                }

                return areas;
            }

            least = at + 8;
            at = U32(capability, 4);
        }

        return null;
    }

    private void Forget(ulong iova)
    {
        lock (_dmaLock)
        {
            _dma.Remove(iova);
        }
    }

    private void Receive()
    {
        try
        {
            while (_channel.Receive() is { } message)
            {
                using (message)
                {
                    Answer(message);
                }
            }

            _channel.Fail(Errno.ENOTCONN, "the connection is closed");
        }
        catch (VfioUserException)
        {
            // The reason is the channel's; whoever calls next is told.
        }
        catch (Exception e)
        {
            _channel.Fail(Errno.EIO, $"the client failed: {e.Message}", e);
        }

        try
        {
            _disconnected.Cancel();
        }
        catch (AggregateException)
        {
            // A callback of the owner's failed; the connection is gone all the same.
        }
    }

    private void Answer(VfioUserMessage message)
    {
        VfioUserHeader header = message.Header;
        byte[] p = message.Payload;
        byte[] data = [];
        int error = 0;
        if (header.Command is not (VfioUserCommand.DmaRead or VfioUserCommand.DmaWrite) || p.Length < 16 || message.FdCount != 0)
        {
            error = Errno.EINVAL;
        }
        else
        {
            ulong count = U64(p, 8);
            bool isWrite = header.Command == VfioUserCommand.DmaWrite;
            if (count > VfioUserSession.MaxDataTransferBytes || (ulong)(p.Length - 16) != (isWrite ? count : 0))
            {
                error = Errno.EINVAL;
            }
            else
            {
                data = isWrite ? [] : new byte[count];
                error = Copy(U64(p, 0), isWrite ? p.AsSpan(16) : data, isWrite) ? 0 : Errno.EFAULT;
            }
        }

        if (header.WantsNoReply)
        {
            return;
        }

        if (error != 0)
        {
            _channel.Send(header.ToError(error));
        }
        else
        {
            _channel.Send(header.ToReply(16 + data.Length), p.AsSpan(0, 16), data);
        }
    }

    private unsafe bool Copy(ulong iova, Span<byte> buffer, bool isWrite)
    {
        // The lock keeps the memory mapped: UnmapDma returns only after it has taken the region out.
        lock (_dmaLock)
        {
            foreach (VfioUserClientDma dma in _dma.Values)
            {
                if (iova >= dma.Iova && iova - dma.Iova < dma.Size && (ulong)buffer.Length <= dma.Size - (iova - dma.Iova))
                {
                    if (dma.Address == 0 || !(isWrite ? dma.IsWritable : dma.IsReadable))
                    {
                        return false;
                    }

                    // SAFETY: the range lies in memory that the owner keeps valid while it is in the table.
                    var memory = new Span<byte>((void*)(dma.Address + (nint)(iova - dma.Iova)), buffer.Length);
                    if (isWrite)
                    {
                        buffer.CopyTo(memory);
                    }
                    else
                    {
                        memory.CopyTo(buffer);
                    }

                    return true;
                }
            }
        }

        return false;
    }
}
