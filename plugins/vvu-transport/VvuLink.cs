using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Plugins.VvuTransport;

/// <summary>
/// A session's link over a vvu device: messages are buffers of two virtqueues, memory is a BAR, kicks are interrupts, calls are doorbells. Offsets of memory
/// regions are offsets in the BAR here: <see cref="MemoryTable"/> has rewritten them.
/// </summary>
internal sealed class VvuLink(VvuDevice device, MemoryBackingKind memoryKind) : IVhostUserLink
{
    /// <inheritdoc/>
    public bool CarriesDescriptors => false;

    /// <inheritdoc/>
    // The published devices drop the link for everything but MQ, whatever they let a driver negotiate.
    public ProtocolFeatures ProtocolFeatures => device.HasFullForwarding
        ? (device.TrackingBar is null ? 0 : ProtocolFeatures.InFlightSharedMemory | ProtocolFeatures.LogSharedMemory)
            | ProtocolFeatures.MultiQueue | ProtocolFeatures.ReplyAck | ProtocolFeatures.Config | ProtocolFeatures.BackendRequest
            | ProtocolFeatures.Status | ProtocolFeatures.ResetDevice | ProtocolFeatures.ConfigureMemorySlots
        : ProtocolFeatures.MultiQueue;

    /// <inheritdoc/>
    public void SendReply(MessageHeader header, ReadOnlySpan<byte> payload, FileDescriptor? descriptor)
    {
        if (!TrySend(header, payload))
        {
            throw new VhostUserException($"{device.Pci.Address}: the device takes no replies: all tx buffers are in its hands");
        }
    }

    /// <inheritdoc/>
    public IMappedRegion MapRegion(in RegionDescription description, FileDescriptor? descriptor)
    {
        descriptor?.Dispose();
        var bar = device.Layout.MemoryBar;
        var offset = description.OffsetBytes;
        if (offset > bar.LengthBytes || description.LengthBytes > bar.LengthBytes - offset)
        {
            throw new VhostUserException(
                $"the memory region at guest address 0x{description.GuestAddress:x} (BAR offset 0x{offset:x}, length 0x{description.LengthBytes:x}) does not fit the BAR of 0x{bar.LengthBytes:x} bytes; give the Compute VM less memory");
        }

        var address = device.Map(bar, offset, description.LengthBytes);
        if (address == 0)
        {
            throw new VhostUserException(
                $"the memory region at guest address 0x{description.GuestAddress:x} cannot be mapped from BAR {bar.Index} at 0x{offset:x}; with vvu-device, let the Compute VM's memory be the file of its --memory");
        }

        var physical = bar.PhysicalAddress == 0 ? 0 : bar.PhysicalAddress + offset;
        return new VvuRegion(
            new MemoryRegion(
                description.GuestAddress, address, description.LengthBytes, IsWritable: true,
                memoryKind == MemoryBackingKind.Unreachable
                    ? new MemoryBacking(memoryKind, 4096)
                    : new MemoryBacking(memoryKind, 4096, -1, offset, device.Pci.Address, bar.Index, physical)),
            offset,
            device);
    }

    /// <inheritdoc/>
    public IQueueKick OpenKick(int queueIndex, FileDescriptor? descriptor)
    {
        descriptor?.Dispose();
        return new VvuKick(device.EnableKick(queueIndex));
    }

    /// <inheritdoc/>
    public IQueueCall CreateCall(int queueIndex) => device.DoorbellOffset(queueIndex) is { } offset
        ? new VvuCall(device.Layout.DoorbellBar, offset, queueIndex)
        : throw new VhostUserException($"{device.Pci.Address}: the device has no doorbell for queue {queueIndex}");

    /// <inheritdoc/>
    // Our own device has doorbells for errors behind those for calls. Without one nobody is told, and nobody is interrupted by mistake.
    public IQueueCall CreateErrorCall(int queueIndex) => device.ErrorDoorbellOffset(queueIndex) is { } offset
        ? new VvuCall(device.Layout.DoorbellBar, offset, queueIndex)
        : new NoCall();

    /// <inheritdoc/>
    public ISharedMemory MapShared(in SharedAreaDescription description, FileDescriptor? descriptor, string purpose)
    {
        descriptor?.Dispose();
        var bar = device.TrackingBar;
        if (bar is null || description.OffsetBytes > bar.LengthBytes || description.LengthBytes > bar.LengthBytes - description.OffsetBytes)
        {
            throw new VhostUserException(
                $"{purpose} (0x{description.OffsetBytes:x}, length 0x{description.LengthBytes:x}) {(bar is null ? "is not carried by this vvu device" : $"does not fit BAR {bar.Index} of 0x{bar.LengthBytes:x} bytes")}");
        }

        var address = device.Map(bar, description.OffsetBytes, description.LengthBytes);
        return address != 0
            ? new VvuSharedMemory(new SharedArea(address, description.LengthBytes), device)
            : throw new VhostUserException(
                $"{purpose} cannot be mapped from BAR {bar.Index} at 0x{description.OffsetBytes:x}: the other VM brought one that this vvu-device did not make; restart the Compute VM");
    }

    /// <inheritdoc/>
    // The device makes it when it sees the reply, from memory of its own that is in the BAR from the start.
    public ISharedMemory CreateShared(ulong lengthBytes, string purpose) => device.TrackingBar is not null
        ? new DeviceMade()
        : throw new VhostUserException($"{purpose} cannot be shared over this vvu device");

    /// <inheritdoc/>
    public IBackendChannel OpenBackendChannel(FileDescriptor? descriptor)
    {
        descriptor?.Dispose();
        return new VvuBackendChannel(this);
    }

    /// <summary>Sends a message. Any thread, one at a time.</summary>
    internal bool TrySend(MessageHeader header, ReadOnlySpan<byte> payload)
    {
        Span<byte> bytes = stackalloc byte[MessageHeader.LengthBytes];
        header.Write(bytes);
        // A configuration change is announced by whatever thread brings it; replies come from the server's.
        lock (device.Send)
        {
            return device.Send.TrySend(bytes, payload);
        }
    }

    /// <summary>How many messages the device has not taken yet. Any thread.</summary>
    internal int CountPending()
    {
        lock (device.Send)
        {
            return device.Send.CountPending();
        }
    }

    /// <summary>Memory that the device puts into a reply; this side sees it when the other VM hands it back.</summary>
    private sealed class DeviceMade : ISharedMemory
    {
        public SharedArea Area => default;

        public FileDescriptor? Descriptor => null;

        public void Dispose()
        {
        }
    }

    /// <summary>A notification that this device cannot carry.</summary>
    private sealed class NoCall : IQueueCall
    {
        public void Notify()
        {
        }

        public void SetTarget(FileDescriptor? descriptor, bool isPolled) => descriptor?.Dispose();

        public void Dispose()
        {
        }
    }

    /// <summary>Requests of this side go the same way as replies; the missing reply flag tells them apart.</summary>
    private sealed class VvuBackendChannel(VvuLink link) : IBackendChannel
    {
        public bool TrySend(MessageHeader header) => link.TrySend(header, []);

        public void Dispose()
        {
        }
    }
}
