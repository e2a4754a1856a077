namespace Vhost.Abstractions;

/// <summary>What backs a memory region. Plain values: nothing here owns a descriptor.</summary>
/// <param name="Kind">RAM, hugetlb or a device's BAR.</param>
/// <param name="PageSizeBytes">The size of the pages behind the region, a power of two.</param>
/// <param name="FileDescriptor">The file that is mapped, or -1. Open as long as the region is registered.</param>
/// <param name="FileOffsetBytes">Where the region begins in that file.</param>
/// <param name="DeviceAddress">For <see cref="MemoryBackingKind.DeviceBar"/>: the device, as <c>dddd:bb:dd.f</c>; else null.</param>
/// <param name="BarIndex">For <see cref="MemoryBackingKind.DeviceBar"/>: the BAR, 0 to 5; else -1.</param>
/// <param name="PhysicalAddress">For <see cref="MemoryBackingKind.DeviceBar"/>: where the region begins in the machine's physical address space; else 0.</param>
public readonly record struct MemoryBacking(
    MemoryBackingKind Kind,
    ulong PageSizeBytes,
    int FileDescriptor = -1,
    ulong FileOffsetBytes = 0,
    string? DeviceAddress = null,
    int BarIndex = -1,
    ulong PhysicalAddress = 0);
