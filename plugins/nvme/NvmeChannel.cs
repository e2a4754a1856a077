using System.Numerics;
using Vhost.Abstractions;
using Vhost.Plugins.Nvme.Queues;

namespace Vhost.Plugins.Nvme;

/// <summary>A reactor's channel to a namespace: all channels of a reactor share its queue pair.</summary>
internal sealed class NvmeChannel : IBdevChannel
{
    private readonly IoQueuePair _pair;
    private readonly int _index;

    public NvmeChannel(IoQueuePair pair, uint namespaceId, uint blockSizeBytes, IBdevCompletions completions)
    {
        _pair = pair;
        NamespaceId = namespaceId;
        BlockSizeBytes = blockSizeBytes;
        BlockShift = BitOperations.Log2(blockSizeBytes);
        Completions = completions;
        _index = pair.AddChannel(this);
    }

    public uint NamespaceId { get; }

    public uint BlockSizeBytes { get; }

    public int BlockShift { get; }

    public IBdevCompletions Completions { get; }

    /// <summary>Requests that the pair has of this channel. The pair's alone.</summary>
    public int OutstandingCount { get; set; }

    /// <summary>Whether the channel's place may be given to another, once nothing is outstanding.</summary>
    public bool IsClosed { get; private set; }

    /// <inheritdoc/>
    public void Submit(ReadOnlySpan<BlockRequestPointer> requests) => _pair.Submit(_index, requests);

    /// <inheritdoc/>
    public unsafe void Abort(BlockRequestPointer request) => _pair.Abort(request.Pointer);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!IsClosed)
        {
            IsClosed = true;
            _pair.Close(_index);
        }
    }
}
