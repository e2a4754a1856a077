namespace Vhost.Abstractions;

/// <summary>The three kinds of part that a plugin may export.</summary>
public enum PartKind
{
    /// <summary>A block device backend: publishes bdevs.</summary>
    Bdev,

    /// <summary>A virtio device type: turns virtqueue requests into block requests.</summary>
    DeviceType,

    /// <summary>A transport: delivers a guest's virtqueues and memory.</summary>
    Transport,
}
