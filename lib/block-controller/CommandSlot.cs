using Vhost.Abstractions;

namespace Vhost.BlockController;

/// <summary>One command that the controller may have; its index is what the controller calls it by. Owned by the queue's reactor.</summary>
public unsafe struct CommandSlot
{
    /// <summary>A <see cref="Deadline"/> that never comes: the controller does not have the command, which waits to be sent again.</summary>
    public const long PutOff = long.MaxValue;

    /// <summary>The block request that the command belongs to; null while the slot is free, and for commands that are nobody's request.</summary>
    public BlockRequest* Request;

    /// <summary>When the command is overdue, as a reactor timestamp, or <see cref="PutOff"/>.</summary>
    public long Deadline;

    /// <summary>Blocks of the request that come before the command's.</summary>
    public ulong BlockOffset;

    /// <summary>Where in the segment <see cref="SegmentIndex"/> the command's data begin.</summary>
    public nuint SegmentOffset;

    /// <summary>The segment of the request where the command's data begin.</summary>
    public int SegmentIndex;

    /// <summary>Bytes that the command moves.</summary>
    public uint LengthBytes;

    /// <summary>The bounce buffer in use, or -1.</summary>
    public int BounceIndex;

    /// <summary>The next free slot, while this one is free.</summary>
    public int NextFree;

    /// <summary>Whether the slot is in use.</summary>
    public bool IsTaken;

    /// <summary>Whether the command's channel was closed: its completion frees the slot and concerns nobody.</summary>
    public bool IsOrphan;

    /// <summary>Whether an abort was asked for.</summary>
    public bool IsAborting;
}
