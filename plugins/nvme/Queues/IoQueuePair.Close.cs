using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.Pci;

namespace Vhost.Plugins.Nvme.Queues;

/// <summary>What happens when a channel is closed while requests are under way: nothing of them is touched afterwards.</summary>
internal sealed unsafe partial class IoQueuePair
{
    private static readonly TimeSpan FinishLimit = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan StopLimit = TimeSpan.FromMilliseconds(500);

    /// <summary>
    /// Lets go of a channel's requests. Those that wait are dropped; commands on bounce buffers or without data finish on their own; commands
    /// whose data is the submitter's memory are waited for a short time, and then the controller is stopped under them.
    /// </summary>
    public void Close(int channelIndex)
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
            if (slot.Request != null && RequestProgress.Of(slot.Request).ChannelIndex == channelIndex)
            {
                slot.Request = null;
                slot.IsOrphan = true;
            }
        }

        _channels[channelIndex].OutstandingCount = 0;
        var start = Stopwatch.GetTimestamp();
        while (HasOrphanWithDirectData())
        {
            if (_state == PairState.Running && Stopwatch.GetElapsedTime(start) < FinishLimit)
            {
                Poll();
                continue;
            }

            if (!_ring!.TryStopController(StopLimit))
            {
                // The last resort: the function loses the right to do DMA at all.
                _device!.SetBusMastering(false);
            }

            _state = PairState.Frozen;
            _owner.RequestReset($"queue {QueueId}: a channel was closed with commands under way that the controller did not finish within {FinishLimit.TotalMilliseconds} ms");
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
    // list that the mapper reads next anyway.
    private static BlockStatus Refuse(BlockRequest* request, NvmeChannel channel)
    {
        switch (request->Operation)
        {
            case BlockOperation.Read:
            case BlockOperation.Write:
            case BlockOperation.Compare:
                nuint length = 0;
                for (var i = 0; i < request->SegmentCount; i++)
                {
                    length += request->Segments[i].LengthBytes;
                }

                return request->BlockCount != 0 && length == (nuint)request->BlockCount << channel.BlockShift ? BlockStatus.Success : BlockStatus.OutOfRange;
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
