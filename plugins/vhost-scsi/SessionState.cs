using Vhost.Abstractions;
using Vhost.Virtio;

namespace Vhost.Plugins.VhostScsi;

/// <summary>What the queues of one session know of each other. Any thread.</summary>
internal sealed class SessionState(VhostScsiDevice device)
{
    private readonly Lock _lock = new();
    private readonly List<RequestQueueHandler> _requestQueues = [];
    private EventQueueHandler? _eventQueue;
    private bool _hasMissedEvents;

    public VhostScsiDevice Device => device;

    public IVirtqueueHandler CreateHandler(int queueIndex) => queueIndex switch
    {
        VirtioScsi.ControlQueue => new ControlQueueHandler(this),
        VirtioScsi.EventQueue => new EventQueueHandler(this),
        _ => new RequestQueueHandler(this),
    };

    public void Add(RequestQueueHandler queue)
    {
        lock (_lock)
        {
            _requestQueues.Add(queue);
        }
    }

    public void Remove(RequestQueueHandler queue)
    {
        lock (_lock)
        {
            _requestQueues.Remove(queue);
        }
    }

    public RequestQueueHandler[] GetRequestQueues()
    {
        lock (_lock)
        {
            return [.. _requestQueues];
        }
    }

    /// <summary>The event queue runs.</summary>
    /// <returns>Whether there were events that no queue was there for.</returns>
    public bool SetEventQueue(EventQueueHandler queue)
    {
        lock (_lock)
        {
            _eventQueue = queue;
            var hasMissed = _hasMissedEvents;
            _hasMissedEvents = false;
            return hasMissed;
        }
    }

    /// <summary>The event queue stopped.</summary>
    public void ClearEventQueue(EventQueueHandler queue, bool hasMissedEvents)
    {
        lock (_lock)
        {
            if (_eventQueue == queue)
            {
                _eventQueue = null;
            }

            _hasMissedEvents |= hasMissedEvents;
        }
    }

    /// <summary>Ends all tasks for a target on all queues.</summary>
    public void AbortTasks(byte target, Action onDone)
        => new TaskManagement(TaskFunction.AbortTaskSet, VirtioScsiLun.OfTarget(target), 0, _ => onDone()).Start(GetRequestQueues());

    /// <summary>Ends all tasks for all units of a target on all queues, because the target goes.</summary>
    public void EndNexus(byte target, Action onDone)
        => new TaskManagement(TaskFunction.ItNexusReset, VirtioScsiLun.OfTarget(target), 0, _ => onDone()).Start(GetRequestQueues());

    public void ReportChange(byte target, BdevChange change)
    {
        var scsiEvent = change switch
        {
            BdevChange.Appeared => new ScsiEvent(VirtioScsi.EventTransportReset, target, VirtioScsi.ReasonRescan),
            BdevChange.Removed => new ScsiEvent(VirtioScsi.EventTransportReset, target, VirtioScsi.ReasonRemoved),
            BdevChange.Resized => new ScsiEvent(VirtioScsi.EventParameterChange, target, VirtioScsi.ReasonCapacityChanged),
            _ => new ScsiEvent(VirtioScsi.EventParameterChange, target, VirtioScsi.ReasonInquiryDataChanged),
        };
        EventQueueHandler? queue;
        lock (_lock)
        {
            queue = _eventQueue;
            _hasMissedEvents |= queue is null;
        }

        queue?.Post(scsiEvent);
    }
}
