namespace Vhost.Virtio;

/// <summary>Feature bits that concern every device (virtio 1.3, section 6).</summary>
public static class VirtioFeatures
{
    /// <summary>VIRTIO_F_NOTIFY_ON_EMPTY: a bit of legacy devices that vhost drivers may still acknowledge.</summary>
    public const ulong NotifyOnEmpty = 1UL << 24;

    /// <summary>VIRTIO_F_ANY_LAYOUT: a legacy bit; version 1 implies it.</summary>
    public const ulong AnyLayout = 1UL << 27;

    /// <summary>VIRTIO_F_INDIRECT_DESC: descriptors may refer to tables of descriptors.</summary>
    public const ulong IndirectDescriptors = 1UL << 28;

    /// <summary>VIRTIO_F_EVENT_IDX: each side says at which index it wants to be notified.</summary>
    public const ulong EventIndex = 1UL << 29;

    /// <summary>VIRTIO_F_VERSION_1: the device is not a legacy one.</summary>
    public const ulong Version1 = 1UL << 32;

    /// <summary>VIRTIO_F_ACCESS_PLATFORM: the device's memory accesses go through the platform (an IOMMU).</summary>
    public const ulong AccessPlatform = 1UL << 33;

    /// <summary>VIRTIO_F_RING_PACKED: packed virtqueues.</summary>
    public const ulong RingPacked = 1UL << 34;

    /// <summary>VIRTIO_F_ORDER_PLATFORM: memory accesses are ordered as on the platform.</summary>
    public const ulong OrderPlatform = 1UL << 36;

    /// <summary>What the rings of this library can do; a device type adds its own bits.</summary>
    public const ulong DeviceRings = AnyLayout | IndirectDescriptors | EventIndex | Version1 | RingPacked;
}
