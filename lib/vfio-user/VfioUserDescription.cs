using Vhost.Linux;

namespace Vhost.VfioUser;

/// <summary>Region indices of a PCI device (linux/vfio.h).</summary>
public static class VfioUserRegions
{
    /// <summary>VFIO_PCI_BAR0_REGION_INDEX; the BARs are 0 to 5.</summary>
    public const int Bar0 = 0;

    /// <summary>VFIO_PCI_ROM_REGION_INDEX.</summary>
    public const int Rom = 6;

    /// <summary>VFIO_PCI_CONFIG_REGION_INDEX.</summary>
    public const int Config = 7;

    /// <summary>VFIO_PCI_VGA_REGION_INDEX.</summary>
    public const int Vga = 8;

    /// <summary>VFIO_PCI_NUM_REGIONS.</summary>
    public const int Count = 9;
}

/// <summary>Interrupt indices of a PCI device (linux/vfio.h).</summary>
public static class VfioUserIrqs
{
    /// <summary>VFIO_PCI_INTX_IRQ_INDEX.</summary>
    public const int Intx = 0;

    /// <summary>VFIO_PCI_MSI_IRQ_INDEX.</summary>
    public const int Msi = 1;

    /// <summary>VFIO_PCI_MSIX_IRQ_INDEX.</summary>
    public const int Msix = 2;

    /// <summary>VFIO_PCI_ERR_IRQ_INDEX.</summary>
    public const int Error = 3;

    /// <summary>VFIO_PCI_REQ_IRQ_INDEX.</summary>
    public const int Request = 4;

    /// <summary>VFIO_PCI_NUM_IRQS.</summary>
    public const int Count = 5;
}

/// <summary>A part of a region.</summary>
/// <param name="Offset">First byte in the region.</param>
/// <param name="Size">Length in bytes.</param>
public readonly record struct VfioUserArea(ulong Offset, ulong Size);

/// <summary>An eventfd that stands for writes to a part of a region (an ioeventfd).</summary>
/// <param name="Offset">First byte in the region.</param>
/// <param name="Size">Width of the write in bytes; 0 for any.</param>
/// <param name="Fd">Descriptor number of the eventfd; the device's.</param>
/// <param name="DataMatch">The value that must be written; null for any.</param>
public readonly record struct VfioUserIoEventFd(ulong Offset, ulong Size, int Fd, ulong? DataMatch);

/// <summary>A region as the device offers it.</summary>
public sealed record VfioUserRegion
{
    /// <summary>A region that does not exist.</summary>
    public static VfioUserRegion None { get; } = new();

    /// <summary>Length in bytes; 0 where the region does not exist.</summary>
    public ulong Size { get; init; }

    /// <summary>Whether the client may read.</summary>
    public bool IsReadable { get; init; } = true;

    /// <summary>Whether the client may write.</summary>
    public bool IsWritable { get; init; } = true;

    /// <summary>Descriptor number of the file to map, the device's; -1 where the region is only trapped.</summary>
    public int MapFd { get; init; } = -1;

    /// <summary>Where the region begins in that file; areas are added to it modulo 2^64.</summary>
    public ulong MapOffset { get; init; }

    /// <summary>The parts that can be mapped; empty means the whole region, where <see cref="MapFd"/> is given.</summary>
    public IReadOnlyList<VfioUserArea> MapAreas { get; init; } = [];

    /// <summary>The eventfds that stand for writes.</summary>
    public IReadOnlyList<VfioUserIoEventFd> IoEventFds { get; init; } = [];
}

/// <summary>What an interrupt type can do (VFIO_IRQ_INFO_*).</summary>
[Flags]
public enum VfioUserIrqFlags : uint
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>It is signalled through eventfds.</summary>
    EventFd = 1,

    /// <summary>It can be masked and unmasked.</summary>
    Maskable = 2,

    /// <summary>It masks itself when it is signalled (INTx).</summary>
    AutoMasked = 4,

    /// <summary>The vectors are set up as a whole.</summary>
    NoResize = 8,
}

/// <summary>An interrupt type.</summary>
/// <param name="Count">Number of vectors; 0 where the device has none of the type.</param>
/// <param name="Flags">What it can do.</param>
public readonly record struct VfioUserIrq(uint Count, VfioUserIrqFlags Flags);

/// <summary>What the device is (DEVICE_GET_INFO).</summary>
/// <param name="Flags">VFIO_DEVICE_FLAGS_*.</param>
/// <param name="RegionCount">Number of regions.</param>
/// <param name="IrqCount">Number of interrupt types.</param>
public readonly record struct VfioUserDeviceInfo(uint Flags, uint RegionCount, uint IrqCount)
{
    internal const uint FlagReset = 1; // VFIO_DEVICE_FLAGS_RESET, linux/vfio.h
    internal const uint FlagPci = 2; // VFIO_DEVICE_FLAGS_PCI, linux/vfio.h

    /// <summary>Whether the device can be reset.</summary>
    public bool CanReset => (Flags & FlagReset) != 0;

    /// <summary>Whether it is a PCI device.</summary>
    public bool IsPci => (Flags & FlagPci) != 0;
}

/// <summary>Memory of the client that the device may reach.</summary>
public sealed class VfioUserDmaRegion
{
    internal VfioUserDmaRegion(
        ulong iova, ulong size, bool isReadable, bool isWritable, MemoryMapping? mapping, nint address, FileStatus? file, ulong fileOffset)
    {
        Iova = iova;
        Size = size;
        IsReadable = isReadable;
        IsWritable = isWritable;
        Mapping = mapping;
        Address = address;
        File = file;
        FileOffset = fileOffset;
    }

    /// <summary>First device address.</summary>
    public ulong Iova { get; }

    /// <summary>Length in bytes.</summary>
    public ulong Size { get; }

    /// <summary>Whether the device may read.</summary>
    public bool IsReadable { get; }

    /// <summary>Whether the device may write.</summary>
    public bool IsWritable { get; }

    /// <summary>Address of the first byte in this process; 0 where the memory is only reached by messages.</summary>
    public nint Address { get; }

    /// <summary>The file behind it; null where there is none.</summary>
    public FileStatus? File { get; }

    /// <summary>Where the region begins in that file.</summary>
    public ulong FileOffset { get; }

    internal MemoryMapping? Mapping { get; }
}
