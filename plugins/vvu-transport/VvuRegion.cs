using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Plugins.VvuTransport;

/// <summary>A piece of the other VM's memory in the device's BAR. The mapping belongs to the device.</summary>
/// <param name="region">Where it is.</param>
/// <param name="barOffsetBytes">Where it begins in the BAR.</param>
internal sealed class VvuRegion(MemoryRegion region, ulong barOffsetBytes) : IMappedRegion
{
    /// <inheritdoc/>
    public MemoryRegion Region { get; } = region;

    /// <inheritdoc/>
    // A new table may show other memory at the same place: the published devices map anew each time. It is the same to this side, which reads the BAR.
    public bool IsSameMemory(in RegionDescription description, FileDescriptor? descriptor) =>
        description.GuestAddress == Region.GuestAddress && description.LengthBytes == Region.LengthBytes && description.OffsetBytes == barOffsetBytes;

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
