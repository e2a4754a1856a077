using System.Buffers.Binary;
using Vhost.Abstractions;
using Vhost.Virtio;

namespace Vhost.Plugins.VhostScsi;

/// <summary>
/// The event queue. It is paused, and a buffer is taken when there is an event. An event without a buffer is dropped, and as soon as there is a buffer
/// the driver is told that it missed something, which makes it look at everything.
/// </summary>
// SAFETY: requests are slots of the queue, used on its reactor and not after it was given up; segments are translated and checked.
internal sealed unsafe class EventQueueHandler(SessionState session) : IVirtqueueHandler
{
    private Virtqueue? _queue;
    private IReactor? _reactor;
    private bool _hasMissedEvents;

    public int PrivateBytes => 0;

    public void Attach(Virtqueue queue)
    {
        _queue = queue;
        _reactor = queue.Reactor;
        _queue.Pause();
        if (session.SetEventQueue(this))
        {
            Miss();
        }
    }

    /// <summary>Sends an event. Any thread, after the queue was attached.</summary>
    public void Post(ScsiEvent scsiEvent)
        => _reactor!.Post(
            static state =>
            {
                var (handler, posted) = ((EventQueueHandler, ScsiEvent))state!;
                handler.Send(posted);
            },
            (this, scsiEvent));

    /// <summary>Buffers arrived while the driver is to be told that it missed events: the first one that can tell it does.</summary>
    public void Handle(ReadOnlySpan<VirtioRequestPointer> requests)
    {
        foreach (var request in requests)
        {
            // More buffers than one may come at once. They go back as empty events, which drivers put in again.
            Write(request.Pointer, VirtioScsi.EventNone, 0, 0);
        }

        _queue!.Pause();
    }

    public bool TryFail(VirtioRequest* request, out uint writtenBytes)
    {
        // There is no error in an event.
        writtenBytes = 0;
        return false;
    }

    public void Detach()
    {
        _queue = null;
        session.ClearEventQueue(this, _hasMissedEvents);
    }

    private void Send(ScsiEvent scsiEvent)
    {
        if (_queue is null)
        {
            session.ClearEventQueue(this, hasMissedEvents: true);
            return;
        }

        if ((_queue.Features & scsiEvent.RequiredFeature) == 0)
        {
            return;
        }

        if (!_queue.IsGivenUp && _queue.TryTake(out var request))
        {
            Write(request, scsiEvent.Kind, VirtioScsiLun.OfTarget(scsiEvent.Target), scsiEvent.Reason);
            _queue.Flush();
            return;
        }

        Miss();
    }

    private void Miss()
    {
        _hasMissedEvents = true;
        _queue!.Resume();
    }

    private void Write(VirtioRequest* request, uint kind, ulong lun, uint reason)
    {
        Span<byte> data = stackalloc byte[VirtioScsi.EventBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(data, kind | (_hasMissedEvents ? VirtioScsi.EventsMissed : 0));
        BinaryPrimitives.WriteUInt64LittleEndian(data[4..], lun);
        BinaryPrimitives.WriteUInt32LittleEndian(data[12..], reason);
        var length = (int)Math.Min(request->WritableBytes, VirtioScsi.EventBytes);
        Segments.Scatter(data[..length], request->Writable, request->WritableCount);

        // A buffer that is too short carries nothing that the driver can read.
        _hasMissedEvents &= length < VirtioScsi.EventBytes;
        _queue!.Complete(request, (uint)length);
    }
}
