using System.Numerics;
using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Plugins.Nvme.Queues;

namespace Vhost.Plugins.Nvme;

/// <summary>A reactor's channel to a namespace: all channels of a reactor share its queue pair.</summary>
internal sealed class NvmeChannel : QueueChannel
{
    private readonly NvmeNamespace _namespace;

    public NvmeChannel(IoQueuePair pair, NvmeNamespace ofNamespace, IBdevCompletions completions)
        : base(pair, completions)
    {
        _namespace = ofNamespace;
        NamespaceId = ofNamespace.Id;
        BlockSizeBytes = ofNamespace.Info.BlockSizeBytes;
        BlockShift = BitOperations.Log2(BlockSizeBytes);
    }

    /// <inheritdoc/>
    public override BdevInfo Info => _namespace.Info;

    public uint NamespaceId { get; }

    public uint BlockSizeBytes { get; }

    public int BlockShift { get; }
}
