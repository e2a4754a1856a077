using Vhost.Abstractions;

namespace Vhost.BlockController;

/// <summary>A reactor's channel to a bdev of the controller: all channels of a reactor share its <see cref="CommandQueue"/>.</summary>
public abstract class QueueChannel : IBdevChannel
{
    private readonly CommandQueue _queue;
    private readonly int _index;

    /// <summary>Opens the channel.</summary>
    /// <param name="queue">The reactor's queue.</param>
    /// <param name="completions">Who gets what completes.</param>
    protected QueueChannel(CommandQueue queue, IBdevCompletions completions)
    {
        ArgumentNullException.ThrowIfNull(queue);
        _queue = queue;
        Completions = completions;
        _index = queue.AddChannel(this);
    }

    /// <summary>Who gets what completes.</summary>
    public IBdevCompletions Completions { get; }

    /// <summary>What the bdev is now; asked once for each batch.</summary>
    public abstract BdevInfo Info { get; }

    /// <summary>Requests that the queue has of this channel.</summary>
    internal int OutstandingCount { get; set; }

    /// <summary>Whether the channel's place may be given to another, once nothing is outstanding.</summary>
    internal bool IsClosed { get; private set; }

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

        GC.SuppressFinalize(this);
    }
}
