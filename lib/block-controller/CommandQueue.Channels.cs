using System.Diagnostics;
using System.Runtime.CompilerServices;
using Vhost.Abstractions;
using Vhost.Pci;

namespace Vhost.BlockController;

/// <summary>What channels ask of the queue; and what happens when one is closed while its requests are under way: nothing of them is touched afterwards.</summary>
public abstract unsafe partial class CommandQueue
{
    private static readonly TimeSpan FinishLimit = TimeSpan.FromMilliseconds(100);

    /// <summary>Takes a channel in and returns its index.</summary>
    internal int AddChannel(QueueChannel channel)
    {
        for (var i = 0; i < _channels.Count; i++)
        {
            if (_channels[i] is { IsClosed: true, OutstandingCount: 0 })
            {
                _channels[i] = channel;
                return i;
            }
        }

        _channels.Add(channel);
        return _channels.Count - 1;
    }

    /// <summary>Has the reactor poll the queue and look at its deadlines. On the reactor.</summary>
    /// <param name="name">The poller's name.</param>
    /// <param name="wakeDescriptor">The eventfd to sleep on, or -1: polled with a back-off.</param>
    /// <param name="deadlineInterval">How often to look at the deadlines.</param>
    internal void Register(string name, int wakeDescriptor, TimeSpan deadlineInterval)
    {
        _registration?.Dispose();
        _registration = Reactor.AddPoller(name, this, wakeDescriptor);
        _timer ??= Reactor.AddTimer(deadlineInterval, static state => ((CommandQueue)state!).CheckDeadlines(), this);
    }

    /// <summary>The reverse. On the reactor.</summary>
    internal void Unregister()
    {
        _registration?.Dispose();
        _registration = null;
        _timer?.Dispose();
        _timer = null;
    }

    /// <summary>Takes requests of a channel.</summary>
    internal void Submit(int channelIndex, ReadOnlySpan<BlockRequestPointer> requests)
    {
        var channel = _channels[channelIndex];
        var info = channel.Info;
        var operations = info.Operations;
        var blockSizeBytes = info.BlockSizeBytes;
        channel.OutstandingCount += requests.Length;
        foreach (var pointer in requests)
        {
            var request = pointer.Pointer;
            ref var progress = ref RequestProgress.Of(request);
            progress = default;
            progress.ChannelIndex = channelIndex;
            request->Information = 0;
            if (_state == QueueState.Dead)
            {
                Conclude(request, _deadStatus);
                continue;
            }

            if (Refuse(request, operations, blockSizeBytes) is var refusal and not BlockStatus.Success)
            {
                Conclude(request, refusal);
                continue;
            }

            _pending.Push(request);
        }

        // From within a completion the requests wait for the end of the delivery, so that depth of stack is bounded.
        if (!_done.IsDelivering)
        {
            Pump();
            Deliver();
        }

        _registration?.Activate();
    }

    /// <summary>Ends a request early if that is possible.</summary>
    internal void Abort(BlockRequest* request)
    {
        ref var progress = ref RequestProgress.Of(request);
        progress.IsAborted = true;
        if (progress.IsPending)
        {
            // What has no command yet gets none; the commands that are under way decide when the request ends.
            _pending.Remove(request);
            if (progress.Status == BlockStatus.Success)
            {
                progress.Status = BlockStatus.Aborted;
            }

            if (progress.Outstanding == 0)
            {
                Conclude(request, progress.Status);
                if (!_done.IsDelivering)
                {
                    Deliver();
                }

                return;
            }
        }

        for (var i = 0; i < _slots.Length; i++)
        {
            if (_slots[i].Request == request && !_slots[i].IsAborting)
            {
                _slots[i].IsAborting = true;
                AskForAbort(i);
            }
        }
    }

    /// <summary>
    /// Lets go of a channel's requests. Those that wait, for a slot or to be sent again, are dropped; commands on bounce buffers or without data
    /// finish on their own; commands whose data is the submitter's memory are waited for a short time, and then the controller is stopped under them.
    /// </summary>
    internal void Close(int channelIndex)
    {
        var request = _pending.Head;
        while (request != null)
        {
            ref var progress = ref RequestProgress.Of(request);
            var next = progress.Next;
            if (progress.ChannelIndex == channelIndex)
            {
                _pending.Remove(request);
            }

            request = next;
        }

        for (var i = 0; i < _slots.Length; i++)
        {
            ref var slot = ref _slots[i];
            if (slot.Request == null || RequestProgress.Of(slot.Request).ChannelIndex != channelIndex)
            {
                continue;
            }

            slot.Request = null;
            slot.IsOrphan = true;
            if (slot.Deadline == CommandSlot.PutOff)
            {
                Free(i); // the controller does not have it
            }
        }

        _channels[channelIndex].OutstandingCount = 0;
        var start = Stopwatch.GetTimestamp();
        while (HasOrphanWithDirectData())
        {
            if (_state == QueueState.Running && Stopwatch.GetElapsedTime(start) < FinishLimit)
            {
                Poll();
                continue;
            }

            StopController();
            Break($"a channel was closed with commands under way that the controller did not finish within {FinishLimit.TotalMilliseconds} ms");
            return;
        }
    }

    private bool HasOrphanWithDirectData()
    {
        foreach (ref var slot in _slots.AsSpan())
        {
            if (slot is { IsOrphan: true, LengthBytes: > 0, BounceIndex: < 0 })
            {
                return true;
            }
        }

        return false;
    }

    // The host checks range, length and operation before it calls. What would become a wrong command is refused here once more: it costs a walk over a
    // list that the driver reads next anyway.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static BlockStatus Refuse(BlockRequest* request, BlockOperations operations, uint blockSizeBytes)
    {
        var operation = request->Operation;
        if ((uint)operation > 15 || (operations & (BlockOperations)(1u << (int)operation)) == 0)
        {
            return BlockStatus.Unsupported;
        }

        switch (operation)
        {
            case BlockOperation.Read:
            case BlockOperation.Write:
            case BlockOperation.Compare:
                nuint length = 0;
                for (var i = 0; i < request->SegmentCount; i++)
                {
                    length += request->Segments[i].LengthBytes;
                }

                return request->BlockCount != 0 && length == (nuint)request->BlockCount * blockSizeBytes ? BlockStatus.Success : BlockStatus.OutOfRange;
            case BlockOperation.Flush:
                return BlockStatus.Success;
            case BlockOperation.Discard:
            case BlockOperation.WriteZeroes:
                return request->BlockCount != 0 ? BlockStatus.Success : BlockStatus.OutOfRange;
            default:
                return BlockStatus.Unsupported;
        }
    }
}
