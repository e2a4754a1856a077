namespace Vhost.Abstractions;

/// <summary>What guest memory is made of, as far as DMA is concerned.</summary>
public enum MemoryBackingKind
{
    /// <summary>Ordinary pages of this machine's memory. They may move; DMA needs an IOMMU that pins them.</summary>
    Ram,

    /// <summary>Hugetlb pages: they do not move, so DMA by physical address is possible.</summary>
    HugeTlb,

    /// <summary>A BAR of another PCI device (the vvu device): the physical address is the BAR's.</summary>
    DeviceBar,

    /// <summary>Memory that devices must not reach, because what they read or write there may be wrong: their data is copied.</summary>
    Unreachable,

    /// <summary>
    /// A BAR of another PCI device, as <see cref="DeviceBar"/>, which devices that the hypervisor emulates reach through copies only (QEMU's <c>vfio-user-pci</c>): one that
    /// maps a buffer twice, as QEMU's virtio-scsi does, writes a stale copy over what it read. A driver of such a device copies the data itself.
    /// </summary>
    CopiedBar,
}
