namespace Vhost.VhostUser;

/// <summary>Feature bits beside the device's own that matter to the protocol.</summary>
public static class VhostUserFeatures
{
    /// <summary>VHOST_F_LOG_ALL: writes to guest memory are logged.</summary>
    public const ulong LogAll = 1UL << 26;

    /// <summary>VHOST_USER_F_PROTOCOL_FEATURES: there are protocol features.</summary>
    public const ulong ProtocolFeatures = 1UL << 30;

    /// <summary>VIRTIO_F_VERSION_1.</summary>
    public const ulong Version1 = 1UL << 32;

    /// <summary>VIRTIO_F_ACCESS_PLATFORM: over vhost-user it asks for an IOTLB.</summary>
    public const ulong AccessPlatform = 1UL << 33;

    /// <summary>VIRTIO_F_RING_PACKED.</summary>
    public const ulong RingPacked = 1UL << 34;
}
