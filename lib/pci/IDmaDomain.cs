using Vhost.Abstractions;

namespace Vhost.Pci;

/// <summary>
/// The addresses (IOVAs) by which a device reaches memory of this process: memory allocated here, and guest memory that was
/// announced. Devices that share an IOMMU container share a domain.
/// </summary>
public interface IDmaDomain
{
    /// <summary>Allocates zeroed memory for queues and buffers. Control threads.</summary>
    /// <param name="lengthBytes">At least 1; rounded up to pages.</param>
    /// <param name="isContiguous">Whether the device must see it at consecutive addresses. In physical mode that is limited to one huge page.</param>
    /// <exception cref="PciException">No memory of that kind (huge pages, memory lock limit): says the remedy.</exception>
    DmaMemory Allocate(nuint lengthBytes, bool isContiguous);

    /// <summary>
    /// Lets the domain follow the guests' memory. What cannot be mapped is logged and left out: requests to it are bounced.
    /// The subscription counts: several devices of one domain map a region once.
    /// </summary>
    /// <param name="registry">The host's registry.</param>
    /// <returns>Ends it when disposed.</returns>
    IDisposable Follow(IMemoryRegistry registry);

    /// <summary>
    /// Translates an address of this process. Data path: any thread, no lock, no allocation.
    /// </summary>
    /// <param name="address">The first byte.</param>
    /// <param name="lengthBytes">How many bytes are wanted, at least 1.</param>
    /// <param name="iova">The device's address of the first byte.</param>
    /// <param name="contiguousBytes">For how many bytes, at most <paramref name="lengthBytes"/>, the device sees consecutive addresses.</param>
    /// <returns>False if the device cannot reach the address: the caller uses a bounce buffer and counts it.</returns>
    bool TryTranslate(nint address, nuint lengthBytes, out ulong iova, out nuint contiguousBytes);

    /// <summary>
    /// The same domain without the guest memory that a device may map once only (<see cref="MemoryBackingKind.CopiedBar"/>): for drivers of devices that may map a buffer more
    /// often. They bounce those transfers.
    /// </summary>
    IDmaDomain WithoutCopiedBars => this;

    /// <summary>Counts a transfer that a driver had to send through a bounce buffer. Any thread; one interlocked addition, on the slow path only.</summary>
    /// <param name="lengthBytes">Length of the transfer.</param>
    void CountBounce(nuint lengthBytes)
    {
    }

    /// <summary>What the domain holds now, and how often it could not be used. Control threads.</summary>
    DmaStatistics Statistics => default;

    /// <summary>Whether device addresses are physical addresses, without an IOMMU's protection.</summary>
    bool IsPhysical { get; }
}
