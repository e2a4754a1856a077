using Vhost.Abstractions;
using Vhost.Scsi;
using Vhost.Virtio;

namespace Vhost.Plugins.VhostScsi;

/// <summary>A request queue's way to one target's bdev, with the batch that is being collected for it.</summary>
internal sealed unsafe class TargetChannel(RequestQueueHandler handler, ItlNexus nexus) : IBdevCompletions, IDisposable
{
    private BlockRequestPointer[] _batch = [];
    private BlockRequestPointer[] _spare = [];
    private IBdevChannel? _channel;
    private int _count;
    private bool _isSubmitting;
    private bool _isStopping;

    public ItlNexus Nexus => nexus;

    /// <summary>Opens the channel. On the queue's reactor.</summary>
    /// <param name="queue">The queue; a batch is at most all its requests.</param>
    public void Open(Virtqueue queue)
    {
        _batch = new BlockRequestPointer[queue.SlotCount];
        _spare = new BlockRequestPointer[queue.SlotCount];
        _channel = nexus.Port.OpenChannel(queue.Reactor, this);
    }

    /// <summary>Adds a request to the batch.</summary>
    /// <returns>Whether it is the first one: the batch is to be submitted then.</returns>
    public bool Add(BlockRequest* request)
    {
        _batch[_count++] = new BlockRequestPointer(request);
        return _count == 1;
    }

    /// <summary>Submits what was added. What is added by completions from within is submitted afterwards, not deeper on the stack.</summary>
    public void SubmitBatch()
    {
        if (_isSubmitting)
        {
            return;
        }

        _isSubmitting = true;
        try
        {
            while (_count > 0)
            {
                var batch = _batch.AsSpan(0, _count);
                _count = 0;
                (_batch, _spare) = (_spare, _batch);
                _channel!.Submit(batch);
            }
        }
        finally
        {
            _isSubmitting = false;
        }

        if (_isStopping)
        {
            _channel!.ReleaseHeld();
        }
    }

    /// <summary>The queue stops: no limit holds back what is under way any longer, and what commands under way still ask for.</summary>
    public void ReleaseHeld()
    {
        _isStopping = true;
        _channel?.ReleaseHeld();
    }

    public void Abort(BlockRequest* request) => _channel!.Abort(new BlockRequestPointer(request));

    public void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests) => handler.OnCompleted(this, requests);

    public void Dispose() => _channel?.Dispose();
}
