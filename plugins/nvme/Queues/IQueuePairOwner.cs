using Vhost.Abstractions;
using Vhost.Plugins.Nvme.Protocol;

namespace Vhost.Plugins.Nvme.Queues;

/// <summary>What a queue pair asks of its controller. Called on reactors; never waits.</summary>
internal interface IQueuePairOwner
{
    /// <summary>Asks for an Abort command.</summary>
    void RequestAbort(IoQueuePair pair, int commandId);

    /// <summary>Asks for a reset of the controller.</summary>
    void RequestReset(string reason);

    /// <summary>A command failed in a way that people should know of.</summary>
    void ReportError(IoQueuePair pair, in NvmeCompletion completion, BlockOperation operation, ulong startBlock);
}
