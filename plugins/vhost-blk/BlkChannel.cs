using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Virtio;

namespace Vhost.Plugins.VhostBlk;

/// <summary>The device's way into the bdev on one reactor, for all its queues there. That reactor's thread only, unless a member says otherwise.</summary>
internal sealed unsafe partial class BlkChannel(IReactor reactor, IBdevPort port) : IBdevCompletions
{
    private IBdevChannel? _channel;
    private int _users;
    private BlockRequest* _modeFlush;
    private ILogger? _modeFlushLogger;
    private bool _isFlushWanted;
    private bool _isFlushUnderWay;

    /// <summary>The reactor.</summary>
    public IReactor Reactor => reactor;

    /// <summary>Opens the channel for the first queue.</summary>
    public IBdevChannel Open()
    {
        _channel ??= port.OpenChannel(reactor, this);
        _users++;
        return _channel;
    }

    /// <summary>Closes it with the last queue.</summary>
    public void Close()
    {
        if (--_users == 0)
        {
            var channel = _channel;
            _channel = null;
            channel?.Dispose();
        }
    }

    /// <summary>Flushes the bdev soon, if a queue of this reactor runs. Any thread.</summary>
    /// <param name="logger">Takes the failure.</param>
    public void PostFlush(ILogger logger) => reactor.Post(
        static state =>
        {
            var (channel, logger) = ((BlkChannel, ILogger))state!;
            channel._modeFlushLogger = logger;
            channel._isFlushWanted = true;
            channel.SubmitFlush();
        },
        (this, logger));

    /// <inheritdoc/>
    public void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests)
    {
        Virtqueue? queue = null;
        var areLarge = Virtqueue.AreLarge(requests);
        foreach (var completed in requests)
        {
            var block = completed.Pointer;
            if (block == _modeFlush)
            {
                EndFlush();
                continue;
            }

            var request = VirtioRequest.FromPrivate(block);
            var owner = Virtqueue.Of(request);
            if (!ReferenceEquals(owner, queue))
            {
                queue?.Flush();
                queue = owner;
            }

            Finish(owner, request, (BlkRequest*)block);
        }

        queue?.Flush(areLarge);
    }

    private void Finish(Virtqueue queue, VirtioRequest* request, BlkRequest* blk)
    {
        var status = blk->Block.Status;
        if (blk->RangesDone < blk->RangeCount && status == BlockStatus.Success && _channel != null && !queue.IsGivenUp)
        {
            SubmitNextRange(blk);
            return;
        }

        if (!queue.IsGivenUp)
        {
            *blk->Status = status == BlockStatus.Success ? BlkProtocol.StatusOk
                : status == BlockStatus.Unsupported ? BlkProtocol.StatusUnsupported
                : BlkProtocol.StatusIoError;
        }

        queue.Complete(request, status == BlockStatus.Success ? blk->WrittenBytes : 1);
    }

    private void SubmitNextRange(BlkRequest* blk)
    {
        blk->TakeRange();
        var next = new BlockRequestPointer(&blk->Block);
        _channel!.Submit(new ReadOnlySpan<BlockRequestPointer>(in next));
    }

    private void SubmitFlush()
    {
        if (_channel == null || _isFlushUnderWay || !_isFlushWanted)
        {
            return;
        }

        // SAFETY: allocated once, and never freed: the bdev may still have it when the device is gone.
        _modeFlush = _modeFlush == null ? (BlockRequest*)NativeMemory.AllocZeroed((nuint)sizeof(BlockRequest)) : _modeFlush;
        _isFlushWanted = false;
        _isFlushUnderWay = true;
        _modeFlush->Operation = BlockOperation.Flush;
        var flush = new BlockRequestPointer(_modeFlush);
        _channel.Submit(new ReadOnlySpan<BlockRequestPointer>(in flush));
    }

    private void EndFlush()
    {
        _isFlushUnderWay = false;
        if (_modeFlush->Status != BlockStatus.Success && _modeFlushLogger is { } logger)
        {
            var status = _modeFlush->Status;
            ThreadPool.UnsafeQueueUserWorkItem(
                static failure => LogFlushFailed(failure.logger, failure.Name, failure.status),
                (logger, port.Name, status),
                preferLocal: false);
        }

        SubmitFlush();
    }

    [LoggerMessage(
        EventId = 2200,
        Level = LogLevel.Error,
        Message = "bdev {Bdev}: the flush after the guest turned the write cache off failed with {Status}; what was written before may not be durable")]
    private static partial void LogFlushFailed(ILogger logger, string bdev, BlockStatus status);
}
