using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Plugins.Nvme.Protocol;

namespace Vhost.Plugins.Nvme.Queues;

/// <summary>What a queue pair asks of its controller. Called on reactors; never waits.</summary>
internal interface IQueuePairOwner : ICommandQueueOwner
{
    /// <summary>Asks for an Abort command.</summary>
    void RequestAbort(IoQueuePair pair, int commandId);

    /// <summary>A command failed in a way that people should know of.</summary>
    void ReportError(in NvmeCompletion completion, BlockOperation operation, ulong startBlock);
}
