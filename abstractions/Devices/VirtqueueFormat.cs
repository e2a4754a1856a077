namespace Vhost.Abstractions;

/// <summary>The layout of a virtqueue.</summary>
public enum VirtqueueFormat
{
    /// <summary>Split virtqueue (virtio 1.3, section 2.7).</summary>
    Split,

    /// <summary>Packed virtqueue (virtio 1.3, section 2.8).</summary>
    Packed,
}
