using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Plugins.VirtioScsi.Scsi;

namespace Vhost.Plugins.VirtioScsi.Queues;

/// <summary>What a request queue asks of its HBA. Called on reactors; never waits.</summary>
internal interface IRequestQueueOwner : ICommandQueueOwner
{
    /// <summary>Asks for a task management function that aborts a command.</summary>
    void RequestAbort(LogicalUnit unit, ulong tag);

    /// <summary>Ends the device's DMA at once, on the caller's thread: for a reactor that cannot wait for the HBA's thread.</summary>
    void StopNow();

    /// <summary>A disk's capacity or the list of disks may have changed.</summary>
    void RequestRescan(int target);

    /// <summary>A command failed in a way that people should know of.</summary>
    void ReportError(LogicalUnit unit, in ScsiOutcome outcome, BlockOperation operation, ulong startBlock);
}
