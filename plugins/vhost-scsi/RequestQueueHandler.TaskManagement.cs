using Vhost.Scsi;
using Vhost.Virtio;

namespace Vhost.Plugins.VhostScsi;

/// <content>Task management on the queue's reactor: finding tasks, aborting them, waiting for them.</content>
internal sealed unsafe partial class RequestQueueHandler
{
    private readonly List<Wait> _waits = [];

    // Commands that wait for something else than a block request, by a number of their own: a slot may have another command when the end comes.
    private readonly Dictionary<long, nint> _waiting = [];
    private long _lastWaiting;

    /// <summary>Does this queue's part of a function, and reports when it is done.</summary>
    public void Manage(TaskManagement function)
    {
        if (_isDetached || _queue is not { IsGivenUp: false } queue)
        {
            function.OnQueueReported();
            return;
        }

        TakeWhatIsAvailable(queue);
        var awaited = new HashSet<int>();
        for (var i = 0; i < queue.SlotCount; i++)
        {
            var request = queue.GetSlot(i);
            var slot = (RequestSlot*)VirtioRequest.PrivateOf(request);
            if (!request->IsUnderWay || !(function.Matches(slot->Lun, slot->Id) || (slot->Task.IsCopy && function.EndsTasksOf(slot->Elsewhere))))
            {
                continue;
            }

            function.OnFound();
            if (!function.IsQuery)
            {
                slot->IsAwaited = true;
                slot->Task.IsAborted = true;
                slot->AbortResponse = function.IsReset ? Response.Reset : Response.Aborted;
                awaited.Add(i);
            }
        }

        if (awaited.Count == 0)
        {
            function.OnQueueReported();
            return;
        }

        var wait = new Wait(function, awaited);
        _waits.Add(wait);

        // A task may complete from within, and with it the whole wait.
        foreach (var index in awaited.ToArray())
        {
            var request = queue.GetSlot(index);
            var slot = (RequestSlot*)VirtioRequest.PrivateOf(request);
            if (request->IsUnderWay && awaited.Contains(index))
            {
                if (TryEndWaiting(request))
                {
                    continue;
                }

                _channels[slot->Task.IsCopy ? slot->Elsewhere : new VirtioScsiLun(slot->Lun).Target]?.Abort(&slot->Task.Block);
            }
        }
    }

    /// <summary>The command waits. The queue's reactor.</summary>
    private void BeginWait(VirtioRequest* request)
    {
        var number = ++_lastWaiting;
        var wait = _server.TakeWait();
        _waiting.Add(number, (nint)request);
        wait.Start(() => Reactor.Post(
            static state =>
            {
                var (handler, ended, waited) = ((RequestQueueHandler, long, CommandWait))state!;
                handler.EndWaiting(ended, waited);
            },
            (this, number, wait)));
    }

    private void EndWaiting(long number, CommandWait wait)
    {
        if (_waiting.Remove(number, out var pointer))
        {
            var request = (VirtioRequest*)pointer;
            var slot = (RequestSlot*)VirtioRequest.PrivateOf(request);
            DeviceServer.EndWait(wait, &slot->Task);
            Finish(request, slot);
            _queue!.Flush();
        }
    }

    /// <summary>Ends a command that waits, because it is aborted itself: it has no block request under way.</summary>
    private bool TryEndWaiting(VirtioRequest* request)
    {
        foreach (var (number, pointer) in _waiting)
        {
            if (pointer == (nint)request)
            {
                _waiting.Remove(number);
                FinishWith(request, (RequestSlot*)VirtioRequest.PrivateOf(request), ((RequestSlot*)VirtioRequest.PrivateOf(request))->AbortResponse);
                _queue!.Flush();
                return true;
            }
        }

        return false;
    }

    private void EndAllWaiting()
    {
        foreach (var pointer in _waiting.Values.ToArray())
        {
            TryEndWaiting((VirtioRequest*)pointer);
        }
    }

    // The driver put the task into the ring before it asked for its end. A task that is still there would run after it was reported as aborted.
    private static void TakeWhatIsAvailable(Virtqueue queue)
    {
        for (var taken = 0; taken < queue.Size;)
        {
            var count = queue.Poll();
            if (count == 0)
            {
                return;
            }

            taken += count;
        }
    }

    private void OnAwaitedDone(int slotIndex)
    {
        for (var i = _waits.Count - 1; i >= 0; i--)
        {
            var wait = _waits[i];
            if (wait.Slots.Remove(slotIndex) && wait.Slots.Count == 0)
            {
                _waits.RemoveAt(i);
                wait.Function.OnQueueReported();
            }
        }
    }

    private void ReportAllWaits()
    {
        foreach (var wait in _waits)
        {
            wait.Function.OnQueueReported();
        }

        _waits.Clear();
    }

    private sealed record Wait(TaskManagement Function, HashSet<int> Slots);
}
