namespace Vhost.VfioUser;

/// <summary>
/// A device that a <see cref="VfioUserServer"/> serves. All calls come on the server's thread, one at a time, with arguments that were checked
/// against the description. An exception refuses the request: a <see cref="VfioUserException"/> with its errno, any other with EIO and a report.
/// </summary>
public interface IVfioUserDevice
{
    /// <summary>Number of regions, at least <see cref="VfioUserRegions.Count"/> for a PCI device.</summary>
    int RegionCount => VfioUserRegions.Count;

    /// <summary>Number of interrupt types.</summary>
    int IrqCount => VfioUserIrqs.Count;

    /// <summary>Describes a region; asked anew for each request, so it may change between sessions.</summary>
    /// <param name="index">0 to <see cref="RegionCount"/> - 1.</param>
    VfioUserRegion GetRegion(int index);

    /// <summary>Describes an interrupt type; it stays the same during a session.</summary>
    /// <param name="index">0 to <see cref="IrqCount"/> - 1.</param>
    VfioUserIrq GetIrq(int index);

    /// <summary>A client has connected and agreed on the version. The session is valid until <see cref="OnDisconnected"/> has returned.</summary>
    /// <param name="session">The session.</param>
    void OnConnected(VfioUserSession session);

    /// <summary>The client has gone. The device stops its DMA before it returns; its memory is unmapped then.</summary>
    /// <param name="reason">Why, for the log.</param>
    void OnDisconnected(string reason);

    /// <summary>Reads from a region, inside its size.</summary>
    /// <param name="region">Index of the region.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="destination">What to fill, wholly.</param>
    void ReadRegion(int region, ulong offset, Span<byte> destination);

    /// <summary>Writes to a region, inside its size.</summary>
    /// <param name="region">Index of the region.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="source">What to write.</param>
    void WriteRegion(int region, ulong offset, ReadOnlySpan<byte> source);

    /// <summary>Memory of the client can be reached from now on.</summary>
    /// <param name="region">The memory.</param>
    void OnDmaMapped(VfioUserDmaRegion region)
    {
    }

    /// <summary>Memory of the client cannot be reached any more. No thread of the device uses it once this has returned: it is unmapped then.</summary>
    /// <param name="region">The memory.</param>
    void OnDmaUnmapped(VfioUserDmaRegion region);

    /// <summary>The client has set, masked or unmasked vectors of an interrupt type.</summary>
    /// <param name="irqIndex">Index of the interrupt type.</param>
    void OnIrqsChanged(int irqIndex)
    {
    }

    /// <summary>Resets the device: it does no DMA and raises no interrupt once this has returned.</summary>
    void Reset();
}
