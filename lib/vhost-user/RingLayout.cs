using Vhost.Abstractions;

namespace Vhost.VhostUser;

/// <summary>Lengths and alignments of a ring's three areas (virtio 1.3, sections 2.7 and 2.8).</summary>
internal static class RingLayout
{
    /// <summary>The greatest ring (section 2.7).</summary>
    internal const int MaxSize = 32768;

    private const int EventSuppressionBytes = 4;

    /// <summary>The three areas of a ring.</summary>
    internal static (RingArea Descriptors, RingArea Driver, RingArea Device) Of(VirtqueueFormat format, int size)
    {
        var count = (ulong)size;
        return format == VirtqueueFormat.Packed
            ? (new RingArea("descriptor ring", 16 * count, 16),
                new RingArea("driver event suppression area", EventSuppressionBytes, 4),
                new RingArea("device event suppression area", EventSuppressionBytes, 4))
            : (new RingArea("descriptor table", 16 * count, 16),
                new RingArea("available ring", 6 + (2 * count), 2),
                new RingArea("used ring", 6 + (8 * count), 4));
    }
}
