using Vhost.BlockController;
using Vhost.Plugins.VirtioScsi.Scsi;

namespace Vhost.Plugins.VirtioScsi.Queues;

/// <summary>What SCSI adds to a <see cref="CommandSlot"/>. Owned by the queue's reactor.</summary>
internal struct ScsiCommand
{
    /// <summary>To whom the command goes.</summary>
    public LogicalUnit Unit;

    /// <summary>A command of the driver's own, or null.</summary>
    public ScsiExchange? Exchange;

    /// <summary>When the command is to be sent again, while it is put off.</summary>
    public long RetryAt;

    /// <summary>The command, kept for sending it again.</summary>
    public InitiatorCdb Cdb;

    /// <summary>How often the command was sent again.</summary>
    public int RetryCount;

    /// <summary>Raised with each use of the slot: recognises an abort that comes too late.</summary>
    public uint Generation;
}
