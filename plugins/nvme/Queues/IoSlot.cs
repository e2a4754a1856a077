using Vhost.Abstractions;

namespace Vhost.Plugins.Nvme.Queues;

/// <summary>One command id of an I/O queue pair. Owned by the pair's reactor.</summary>
internal unsafe struct IoSlot
{
    /// <summary>The block request that the command belongs to; null while the slot is free.</summary>
    public BlockRequest* Request;

    /// <summary>When the command is overdue, as a reactor timestamp.</summary>
    public long Deadline;

    /// <summary>Bytes that the command moves.</summary>
    public uint LengthBytes;

    /// <summary>Blocks of the request that come before the command's: locates a miscompare.</summary>
    public ulong BlockOffset;

    /// <summary>The bounce buffer in use, or -1.</summary>
    public int BounceIndex;

    /// <summary>Where the bounced data belongs.</summary>
    public int SegmentIndex;

    /// <summary>Where in that segment.</summary>
    public nuint SegmentOffset;

    /// <summary>Whether the command's channel was closed: its completion frees the slot and concerns nobody.</summary>
    public bool IsOrphan;

    /// <summary>Whether an abort was asked for.</summary>
    public bool IsAborting;

    /// <summary>The next free slot, while this one is free.</summary>
    public int NextFree;
}
