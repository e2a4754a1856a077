namespace Vhost.Plugins.VhostBlk;

/// <summary>Limits of the device. Those that the configuration space shows are enforced on each request.</summary>
internal static class BlkLimits
{
    /// <summary>The most queues.</summary>
    public const int MaxQueues = 256;

    /// <summary>The smallest value of the queue size option.</summary>
    public const int MinQueueSize = 16;

    /// <summary>The greatest value of the queue size option.</summary>
    public const int MaxQueueSize = 32768;

    /// <summary>
    /// Data segments in a request, as the configuration space says. With header and status they fit in a queue of 128 entries, which is what
    /// front-ends take by default, also without indirect descriptors. Longer requests are served all the same.
    /// </summary>
    public const uint MaxDataSegments = 126;

    /// <summary>Ranges in one discard or write-zeroes request.</summary>
    public const int MaxRanges = 16;

    /// <summary>Longest range of a discard: 256 MiB in sectors.</summary>
    public const uint MaxDiscardSectors = 256 << 11;

    /// <summary>Longest range of a secure erase: as it is done by zeroes, that of a write-zeroes.</summary>
    public const uint MaxSecureEraseSectors = MaxWriteZeroesSectors;

    /// <summary>Longest range of a write-zeroes: 32 MiB in sectors, some milliseconds of a core where it is memory that is zeroed.</summary>
    public const uint MaxWriteZeroesSectors = 32 << 11;
}
