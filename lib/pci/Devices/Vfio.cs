using System.Runtime.InteropServices;

namespace Vhost.Pci.Devices;

/// <summary>Requests and structures of the kernel's vfio (linux/vfio.h).</summary>
internal static class Vfio
{
    public const uint GetApiVersion = 0x3b64; // VFIO_GET_API_VERSION
    public const uint CheckExtension = 0x3b65; // VFIO_CHECK_EXTENSION
    public const uint SetIommu = 0x3b66; // VFIO_SET_IOMMU
    public const uint GroupGetStatus = 0x3b67; // VFIO_GROUP_GET_STATUS
    public const uint GroupSetContainer = 0x3b68; // VFIO_GROUP_SET_CONTAINER
    public const uint GroupGetDeviceFd = 0x3b6a; // VFIO_GROUP_GET_DEVICE_FD
    public const uint DeviceGetInfo = 0x3b6b; // VFIO_DEVICE_GET_INFO
    public const uint DeviceGetRegionInfo = 0x3b6c; // VFIO_DEVICE_GET_REGION_INFO
    public const uint DeviceGetIrqInfo = 0x3b6d; // VFIO_DEVICE_GET_IRQ_INFO
    public const uint DeviceSetIrqs = 0x3b6e; // VFIO_DEVICE_SET_IRQS
    public const uint DeviceReset = 0x3b6f; // VFIO_DEVICE_RESET
    public const uint IommuGetInfo = 0x3b70; // VFIO_IOMMU_GET_INFO
    public const uint IommuMapDma = 0x3b71; // VFIO_IOMMU_MAP_DMA
    public const uint IommuUnmapDma = 0x3b72; // VFIO_IOMMU_UNMAP_DMA

    public const int ApiVersion = 0; // VFIO_API_VERSION
    public const int Type1 = 1; // VFIO_TYPE1_IOMMU
    public const int Type1v2 = 3; // VFIO_TYPE1v2_IOMMU
    public const int NoIommu = 8; // VFIO_NOIOMMU_IOMMU
    public const uint GroupViable = 1; // VFIO_GROUP_FLAGS_VIABLE
    public const uint DeviceCanReset = 1; // VFIO_DEVICE_FLAGS_RESET
    public const uint RegionMmap = 4; // VFIO_REGION_INFO_FLAG_MMAP
    public const uint InfoPageSizes = 1; // VFIO_IOMMU_INFO_PGSIZES
    public const uint InfoCaps = 2; // VFIO_IOMMU_INFO_CAPS
    public const ushort CapIovaRange = 1; // VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE
    public const uint DmaRead = 1; // VFIO_DMA_MAP_FLAG_READ
    public const uint DmaWrite = 2; // VFIO_DMA_MAP_FLAG_WRITE
    public const uint IrqEventFd = 1; // VFIO_IRQ_INFO_EVENTFD
    public const uint IrqDataNone = 1; // VFIO_IRQ_SET_DATA_NONE
    public const uint IrqDataEventFd = 4; // VFIO_IRQ_SET_DATA_EVENTFD
    public const uint IrqUnmask = 16; // VFIO_IRQ_SET_ACTION_UNMASK
    public const uint IrqTrigger = 32; // VFIO_IRQ_SET_ACTION_TRIGGER
}

/// <summary>struct vfio_group_status.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct VfioGroupStatus
{
    public uint ArgumentBytes;
    public uint Flags;
}

/// <summary>struct vfio_device_info.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct VfioDeviceInfo
{
    public uint ArgumentBytes;
    public uint Flags;
    public uint RegionCount;
    public uint IrqCount;
    public uint CapabilityOffset;
}

/// <summary>struct vfio_region_info.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct VfioRegionInfo
{
    public uint ArgumentBytes;
    public uint Flags;
    public uint Index;
    public uint CapabilityOffset;
    public ulong Size;
    public ulong Offset;
}

/// <summary>struct vfio_irq_info.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct VfioIrqInfo
{
    public uint ArgumentBytes;
    public uint Flags;
    public uint Index;
    public uint Count;
}

/// <summary>struct vfio_irq_set without its data.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct VfioIrqSet
{
    public uint ArgumentBytes;
    public uint Flags;
    public uint Index;
    public uint Start;
    public uint Count;
}

/// <summary>struct vfio_iommu_type1_dma_map.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct VfioDmaMap
{
    public uint ArgumentBytes;
    public uint Flags;
    public ulong Address;
    public ulong Iova;
    public ulong Size;
}

/// <summary>struct vfio_iommu_type1_dma_unmap.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct VfioDmaUnmap
{
    public uint ArgumentBytes;
    public uint Flags;
    public ulong Iova;
    public ulong Size;
}
