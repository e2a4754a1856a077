namespace Vhost.Abstractions;

/// <summary>What a bdev is and can do, at one time. Immutable; a change (a resize) is a new value.</summary>
public sealed record BdevInfo
{
    /// <summary>Logical block size: a power of two, 512 to 65536.</summary>
    public required uint BlockSizeBytes { get; init; }

    /// <summary>Number of logical blocks, at least 1. <c>BlockCount * BlockSizeBytes</c> fits in a signed 64-bit number.</summary>
    public required ulong BlockCount { get; init; }

    /// <summary>What kind of disk it is, for people and INQUIRY: <c>Malloc disk</c>. ASCII, at most 16 characters reach a SCSI guest.</summary>
    public required string ProductName { get; init; }

    /// <summary>
    /// What the bdev does by itself. Of a bdev that a plugin publishes: at least <see cref="BlockOperations.Read"/>; the host emulates
    /// write-zeroes, compare, and compare-and-write where they are missing. Of an <see cref="IBdevPort"/>: with what the host emulates.
    /// </summary>
    public required BlockOperations Operations { get; init; }

    /// <summary>Whether writes are refused.</summary>
    public bool IsReadOnly { get; init; }

    /// <summary>Whether completed writes may be lost in a power failure unless flushed.</summary>
    public bool HasVolatileWriteCache { get; init; }

    /// <summary>Whether <see cref="BlockRequestFlags.ForceUnitAccess"/> is honoured; if not, the host emulates it by a flush.</summary>
    public bool HasForceUnitAccess { get; init; }

    /// <summary>Whether discarded blocks read as zeroes.</summary>
    public bool DiscardReadsZeroes { get; init; }

    /// <summary>Physical block size: a multiple of the logical one. Smaller or unaligned writes are slower.</summary>
    public uint PhysicalBlockSizeBytes { get; init; }

    /// <summary>Preferred transfer size, in blocks; 0 where there is none.</summary>
    public uint OptimalTransferBlocks { get; init; }

    /// <summary>Granularity of <see cref="BlockOperation.Discard"/>, in blocks; 0 or 1 for any.</summary>
    public uint DiscardGranularityBlocks { get; init; }

    /// <summary>Stable identity across restarts, or null where there is none.</summary>
    public Guid? Uuid { get; init; }

    /// <summary>Serial number for guests, or null: then the bdev's name serves. ASCII.</summary>
    public string? SerialNumber { get; init; }

    /// <summary>
    /// Whether nothing brings back what a block held after a <see cref="BlockOperation.WriteZeroes"/> without <see cref="BlockRequestFlags.MayUnmap"/>: what a secure
    /// erase needs. So it is with this machine's memory, where a page that was given back is zeroed before anybody gets it, and not with flash, snapshots, or files on a file system.
    /// </summary>
    public bool ZeroingErases { get; init; }

    /// <summary>
    /// The greatest write, in blocks, that is done wholly or not at all whatever fails on the way, a loss of power and the end of this process included; 0 where nothing is
    /// promised. It says nothing of other requests at the same time: where <see cref="BlockRequestFlags.Atomic"/> asks for it, the host keeps them away.
    /// </summary>
    public uint AtomicWriteBlocks { get; init; }

    /// <summary>How much of the life that the medium is rated for is used, in percent; more than 100 where it outlives that; null where it is not known.</summary>
    public int? LifeUsedPercent { get; init; }

    /// <summary>How much of the spare capacity for worn blocks is left, in percent; null where it is not known.</summary>
    public int? SpareLeftPercent { get; init; }

    /// <summary>How warm the device is, in degrees Celsius; null where it is not known. It need not be exact to the moment.</summary>
    public int? TemperatureCelsius { get; init; }

    /// <summary>
    /// What is wrong with the device although it still serves, in words for whoever is to replace it, or null. It is shown as a problem by <c>vhostd health</c>, not to guests.
    /// </summary>
    public string? Warning { get; init; }

    /// <summary>Whether the medium rotates.</summary>
    public bool IsRotational { get; init; }
}
