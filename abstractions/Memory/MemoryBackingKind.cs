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
}
