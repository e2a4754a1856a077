using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.Pci;

namespace Vhost.Plugins.VirtioScsi.Queues;

/// <summary>What happens when a channel is closed while requests are under way: nothing of them is touched afterwards.</summary>
internal sealed unsafe partial class RequestQueue
{
    private static readonly TimeSpan FinishLimit = TimeSpan.FromMilliseconds(100);

    /// <summary>
    /// Lets go of a channel's requests. Those that wait, for a slot or to be sent again, are dropped; commands on bounce buffers or without data
    /// finish on their own; commands whose data is the submitter's memory are waited for a short time, and then the device is stopped under them.
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
            if (slot.Request == null || RequestProgress.Of(slot.Request).ChannelIndex != channelIndex)
            {
                continue;
            }

            slot.Request = null;
            slot.IsOrphan = true;
            if (slot.RetryAt != 0)
            {
                FreeSlot(i); // the device does not have it
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

            Freeze();
            _owner.StopNow();
            _owner.RequestReset($"a channel was closed with commands under way that the device did not finish within {FinishLimit.TotalMilliseconds} ms");
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

    // The host checks range, length and operation before it calls. What would become a wrong command is refused here once more.
    private static BlockStatus Refuse(BlockRequest* request, VirtioScsiDisk disk)
    {
        switch (request->Operation)
        {
            case BlockOperation.Read:
            case BlockOperation.Write:
                nuint length = 0;
                for (var i = 0; i < request->SegmentCount; i++)
                {
                    length += request->Segments[i].LengthBytes;
                }

                return request->BlockCount != 0 && length == (nuint)request->BlockCount * disk.BlockSizeBytes ? BlockStatus.Success : BlockStatus.OutOfRange;
            case BlockOperation.Flush:
                return BlockStatus.Success;
            case BlockOperation.Discard when disk.Identity.MaxUnmapBlocks != 0:
            case BlockOperation.WriteZeroes when disk.Identity.MaxWriteSameBlocks != 0:
                return request->BlockCount != 0 ? BlockStatus.Success : BlockStatus.OutOfRange;
            default:
                return BlockStatus.Unsupported;
        }
    }
}
