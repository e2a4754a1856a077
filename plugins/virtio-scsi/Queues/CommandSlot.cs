using Vhost.Abstractions;
using Vhost.Plugins.VirtioScsi.Scsi;

namespace Vhost.Plugins.VirtioScsi.Queues;

/// <summary>One command that the HBA may have. Owned by the queue's reactor.</summary>
internal unsafe struct CommandSlot
{
    /// <summary>The block request that the command belongs to, or null: then <see cref="Exchange"/> has it, or the slot is free.</summary>
    public BlockRequest* Request;

    /// <summary>To whom the command goes.</summary>
    public LogicalUnit Unit;

    /// <summary>A command of the driver's own, or null.</summary>
    public ScsiExchange? Exchange;

    /// <summary>When the command is overdue, as a reactor timestamp.</summary>
    public long Deadline;

    /// <summary>When the command is to be sent again, or 0 while the HBA has it.</summary>
    public long RetryAt;

    /// <summary>The command, kept for sending it again.</summary>
    public InitiatorCdb Cdb;

    /// <summary>Where the command's data begin in the request.</summary>
    public int SegmentIndex;

    /// <summary>Where in that segment.</summary>
    public nuint SegmentOffset;

    /// <summary>Bytes that the command moves.</summary>
    public uint LengthBytes;

    /// <summary>The bounce buffer in use, or -1.</summary>
    public int BounceIndex;

    /// <summary>How often the command was sent again.</summary>
    public int RetryCount;

    /// <summary>Raised with each use of the slot: recognises an abort that comes too late.</summary>
    public uint Generation;

    /// <summary>Whether an abort was asked for.</summary>
    public bool IsAborting;

    /// <summary>Whether the command's channel was closed: its completion frees the slot and concerns nobody.</summary>
    public bool IsOrphan;

    /// <summary>Whether the slot is in use.</summary>
    public readonly bool IsActive => Request != null || Exchange is not null || IsOrphan;
}
