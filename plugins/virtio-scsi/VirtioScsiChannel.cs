using Vhost.Abstractions;
using Vhost.Plugins.VirtioScsi.Queues;

namespace Vhost.Plugins.VirtioScsi;

/// <summary>A reactor's channel to a disk: all channels of a reactor share its request queue.</summary>
internal sealed class VirtioScsiChannel : IBdevChannel
{
    private readonly RequestQueue _queue;
    private readonly int _index;

    public VirtioScsiChannel(RequestQueue queue, VirtioScsiDisk disk, IBdevCompletions completions)
    {
        _queue = queue;
        Disk = disk;
        Completions = completions;
        _index = queue.AddChannel(this);
    }

    public VirtioScsiDisk Disk { get; }

    public IBdevCompletions Completions { get; }

    /// <summary>Requests that the queue has of this channel. The queue's alone.</summary>
    public int OutstandingCount { get; set; }

    /// <summary>Whether the channel's place may be given to another, once nothing is outstanding.</summary>
    public bool IsClosed { get; private set; }

    /// <inheritdoc/>
    public void Submit(ReadOnlySpan<BlockRequestPointer> requests) => _queue.Submit(_index, requests);

    /// <inheritdoc/>
    public unsafe void Abort(BlockRequestPointer request) => _queue.Abort(request.Pointer);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!IsClosed)
        {
            IsClosed = true;
            _queue.Close(_index);
        }
    }
}
