using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>Where the parts of a driver's virtqueue lie within one block of memory.</summary>
public sealed class DriverVirtqueueLayout
{
    /// <summary>Lays a queue out.</summary>
    /// <param name="format">Split or packed.</param>
    /// <param name="size">Number of entries; a power of two for split queues.</param>
    /// <param name="tableEntryCount">Descriptors in the indirect table of each entry, or 0 for no tables.</param>
    public DriverVirtqueueLayout(VirtqueueFormat format, int size, int tableEntryCount = 0)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(size, RingLayout.MaxQueueSize);
        ArgumentOutOfRangeException.ThrowIfNegative(tableEntryCount);
        if (format == VirtqueueFormat.Split && !int.IsPow2(size))
        {
            throw new ArgumentException($"{size} is no power of two", nameof(size));
        }

        Format = format;
        Size = size;
        TableEntryCount = tableEntryCount;
        var isPacked = format == VirtqueueFormat.Packed;
        // Each part begins on cache lines of its own: both sides write here.
        DescriptorsOffsetBytes = 0;
        DriverOffsetBytes = Align(RingLayout.DescriptorsBytes(size));
        DeviceOffsetBytes = DriverOffsetBytes + Align(isPacked ? RingLayout.PackedEventBytes : RingLayout.AvailableBytes(size));
        TablesOffsetBytes = DeviceOffsetBytes + Align(isPacked ? RingLayout.PackedEventBytes : RingLayout.UsedBytes(size));
        TotalBytes = TablesOffsetBytes + Align(checked(size * tableEntryCount * RingLayout.DescriptorBytes));
    }

    /// <summary>Split or packed.</summary>
    public VirtqueueFormat Format { get; }

    /// <summary>Number of entries.</summary>
    public int Size { get; }

    /// <summary>Descriptors in each indirect table.</summary>
    public int TableEntryCount { get; }

    /// <summary>Offset of the descriptor table or ring.</summary>
    public int DescriptorsOffsetBytes { get; }

    /// <summary>Offset of the available ring or the driver event structure.</summary>
    public int DriverOffsetBytes { get; }

    /// <summary>Offset of the used ring or the device event structure.</summary>
    public int DeviceOffsetBytes { get; }

    /// <summary>Offset of the indirect tables.</summary>
    public int TablesOffsetBytes { get; }

    /// <summary>Length of it all.</summary>
    public int TotalBytes { get; }

    private static int Align(int length) => checked(length + 63) & ~63;
}
