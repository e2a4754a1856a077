namespace Vhost.Virtio;

/// <summary>
/// Sizes, offsets and flags of split and packed rings (virtio 1.3, sections 2.7 and 2.8). All fields are little-endian, as are the
/// machines that this library runs on.
/// </summary>
public static class RingLayout
{
    /// <summary>Length of a descriptor of either format.</summary>
    public const int DescriptorBytes = 16;

    /// <summary>Alignment of a descriptor table or ring.</summary>
    public const int DescriptorAlignmentBytes = 16;

    /// <summary>Alignment of the split available ring.</summary>
    public const int AvailableAlignmentBytes = 2;

    /// <summary>Alignment of the split used ring and of the packed event structures.</summary>
    public const int UsedAlignmentBytes = 4;

    /// <summary>VIRTQ_DESC_F_NEXT.</summary>
    public const ushort FlagNext = 1;

    /// <summary>VIRTQ_DESC_F_WRITE.</summary>
    public const ushort FlagWrite = 2;

    /// <summary>VIRTQ_DESC_F_INDIRECT.</summary>
    public const ushort FlagIndirect = 4;

    /// <summary>VIRTQ_DESC_F_AVAIL, packed.</summary>
    public const ushort FlagAvailable = 1 << 7;

    /// <summary>VIRTQ_DESC_F_USED, packed.</summary>
    public const ushort FlagUsed = 1 << 15;

    /// <summary>VIRTQ_AVAIL_F_NO_INTERRUPT and VIRTQ_USED_F_NO_NOTIFY, split.</summary>
    public const ushort FlagSuppress = 1;

    /// <summary>RING_EVENT_FLAGS_ENABLE, packed.</summary>
    public const ushort EventEnable = 0;

    /// <summary>RING_EVENT_FLAGS_DISABLE, packed.</summary>
    public const ushort EventDisable = 1;

    /// <summary>RING_EVENT_FLAGS_DESC, packed.</summary>
    public const ushort EventAtDescriptor = 2;

    /// <summary>The greatest queue size of either format.</summary>
    public const int MaxQueueSize = 32768;

    /// <summary>Length of a descriptor table or ring.</summary>
    /// <param name="size">Queue size.</param>
    public static int DescriptorsBytes(int size) => size * DescriptorBytes;

    /// <summary>Length of a split available ring with its event field.</summary>
    /// <param name="size">Queue size.</param>
    public static int AvailableBytes(int size) => 6 + (2 * size);

    /// <summary>Length of a split used ring with its event field.</summary>
    /// <param name="size">Queue size.</param>
    public static int UsedBytes(int size) => 6 + (8 * size);

    /// <summary>Length of a packed event suppression structure.</summary>
    public const int PackedEventBytes = 4;

    /// <summary>Whether an index passed the other side's event index in the last step (virtio 1.3, section 2.7.7.2).</summary>
    /// <param name="eventIndex">The index that the other side asked for.</param>
    /// <param name="newIndex">The index now.</param>
    /// <param name="oldIndex">The index at the last notification that was considered.</param>
    internal static bool IsEventPassed(ushort eventIndex, ushort newIndex, ushort oldIndex) =>
        (ushort)(newIndex - eventIndex - 1) < (ushort)(newIndex - oldIndex);
}
