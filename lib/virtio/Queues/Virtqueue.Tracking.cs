using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>What a queue writes for others to see besides its ring: the in-flight area and the dirty log.</summary>
public abstract unsafe partial class Virtqueue
{
    private protected bool _isTracked;

    private InFlightArea? _inFlight;
    private DirtyLog? _dirtyLog;
    private ulong _usedLogGuestAddress;
    private ulong _usedLogBytes;

    private protected void OpenTracking(VirtqueueSetup setup)
    {
        _inFlight = setup.InFlight.IsNone ? null : InFlightArea.Open(setup);
        _dirtyLog = setup.DirtyLog.IsNone ? null : new DirtyLog(setup.DirtyLog, Size);
        _usedLogGuestAddress = setup.Addresses.UsedLogGuestAddress;
        _usedLogBytes = (ulong)(setup.Format == VirtqueueFormat.Packed ? RingLayout.DescriptorsBytes(Size) : RingLayout.UsedBytes(Size));
        _isTracked = _inFlight != null || _dirtyLog != null;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private protected void TrackTaken(VirtioRequest* request, VirtqueueState ring)
    {
        _inFlight?.OnTaken(request, ring);
        _dirtyLog?.OnTaken(request);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private protected void TrackPublishing(VirtioRequest** completed, int count, VirtqueueState ring)
    {
        if (_dirtyLog != null)
        {
            for (var i = 0; i < count; i++)
            {
                _dirtyLog.OnCompleted(completed[i], MemoryOf(completed[i]));
            }
        }

        _inFlight?.OnPublishing(completed, count, ring);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private protected void TrackPublished(VirtioRequest** completed, int count, VirtqueueState ring)
    {
        _inFlight?.OnPublished(completed, count, ring);
        if (_dirtyLog != null && _usedLogGuestAddress != 0)
        {
            // After the ring was written: it fills a page or a few, so all of it is marked.
            _dirtyLog.Mark(_usedLogGuestAddress, _usedLogBytes);
        }
    }

    private protected void MoveTracking(VirtqueueAddresses addresses)
    {
        _inFlight?.Move(addresses);
        _usedLogGuestAddress = addresses.UsedLogGuestAddress;
    }

    /// <summary>Goes on where the in-flight area says.</summary>
    private protected abstract void ResumeRing(VirtqueueState state, int entriesUnderWay);

    /// <summary>Takes a request again that an earlier device had.</summary>
    private protected abstract PopResult TakeAgain(ushort entry, byte* descriptors, int count, VirtioRequest* request, out ChainFault fault);

    /// <summary>Takes what an earlier device left under way, in its order.</summary>
    private void ResubmitInFlight()
    {
        if (_inFlight == null)
        {
            return;
        }

        var resumed = _inFlight.Recover(State, out var reason);
        if (reason != null)
        {
            Break(reason);
            return;
        }

        if (_inFlight.Pending.Length == 0)
        {
            ResumeRing(resumed, 0);
            return;
        }

        var descriptors = (byte*)NativeMemory.AlignedAlloc((nuint)RingLayout.DescriptorsBytes(Size), RingLayout.DescriptorAlignmentBytes);
        try
        {
            Resubmit(_inFlight, resumed, descriptors);
        }
        finally
        {
            NativeMemory.AlignedFree(descriptors);
        }
    }

    private void Resubmit(InFlightArea area, VirtqueueState resumed, byte* descriptors)
    {
        var total = 0;
        foreach (var entry in area.Pending)
        {
            total += area.CopyDescriptors(entry, descriptors);
        }

        ResumeRing(resumed, total);
        var count = 0;
        _isInPoll = true;
        foreach (var entry in area.Pending)
        {
            if (IsBlocked)
            {
                break;
            }

            var request = _pool.Peek();
            var result = TakeAgain(entry, descriptors, area.CopyDescriptors(entry, descriptors), request, out var fault);
            if (result != PopResult.Taken)
            {
                Break(result == PopResult.Broken ? fault.Describe() : "the requests in the in-flight area have too many pieces");
                break;
            }

            request->TrackingIndex = entry;
            OwnAgain(request);
            if (request->InvalidReason != ChainFault.None)
            {
                AnswerInvalid(request);
                continue;
            }

            request->IsRepeat = true;
            _pool.Batch[count++] = request;
            if (count == BatchSize)
            {
                HandleAgain(count);
                count = 0;
            }
        }

        if (count != 0)
        {
            HandleAgain(count);
        }

        _isInPoll = false;
        Flush();
    }

    private void HandleAgain(int count)
    {
        Handler.Handle(new ReadOnlySpan<VirtioRequestPointer>(_pool.Batch, count));

        // No request was taken meanwhile, so each slot, though its request may be done, is no other's yet; the path of new requests need not clear the mark.
        for (var i = 0; i < count; i++)
        {
            _pool.Batch[i]->IsRepeat = false;
        }
    }

    private void OwnAgain(VirtioRequest* request)
    {
        _pool.Take();
        request->State = VirtioRequestState.UnderWay;
        request->MemoryEpoch = _memoryEpoch;
        _memoryLeases++;
        _underWayCount++;
        _requestCount++;
        _dirtyLog?.OnTaken(request);
    }
}
