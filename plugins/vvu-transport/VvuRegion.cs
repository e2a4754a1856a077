using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Plugins.VvuTransport;

/// <summary>A piece of the other VM's memory in the device's BAR. The mapping belongs to the device, which keeps it as long as a region uses it.</summary>
internal sealed class VvuRegion : IMappedRegion
{
    private readonly ulong _barOffsetBytes;
    private readonly VvuDevice _device;
    private int _isReleased;

    /// <summary>Uses a mapped part.</summary>
    /// <param name="region">Where it is.</param>
    /// <param name="barOffsetBytes">Where it begins in the BAR.</param>
    /// <param name="device">The device.</param>
    public VvuRegion(MemoryRegion region, ulong barOffsetBytes, VvuDevice device)
    {
        Region = region;
        _barOffsetBytes = barOffsetBytes;
        _device = device;
        device.CountRegion(1);
    }

    /// <inheritdoc/>
    public MemoryRegion Region { get; }

    /// <inheritdoc/>
    // A new table may show other memory at the same place: the published devices map anew each time. It is the same to this side, which reads the BAR.
    public bool IsSameMemory(in RegionDescription description, FileDescriptor? descriptor) =>
        description.GuestAddress == Region.GuestAddress && description.LengthBytes == Region.LengthBytes && description.OffsetBytes == _barOffsetBytes;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isReleased, 1) == 0)
        {
            _device.CountRegion(-1);
        }
    }
}
