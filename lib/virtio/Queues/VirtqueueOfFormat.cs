using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Virtio;

/// <summary>A queue compiled for one format of ring.</summary>
/// <typeparam name="TRing">The ring.</typeparam>
internal sealed unsafe class Virtqueue<TRing> : Virtqueue
    where TRing : struct, IDeviceRing
{
    private const int CacheLineBytes = 64;
    private const int LongestAnswerBytes = 128;

    private TRing _ring;
    private bool _isRepeating;
    private bool _isCallOwed;

    /// <summary>Sets a queue up.</summary>
    /// <param name="context">What it needs.</param>
    /// <param name="ring">Its ring.</param>
    public Virtqueue(VirtqueueContext context, TRing ring)
        : base(context)
    {
        _ring = ring;
        OpenTracking(context.Setup);
    }

    /// <inheritdoc/>
    internal override VirtqueueState State => _ring.State;

    /// <inheritdoc/>
    public override int Poll()
    {
        if (_isCallDelayed)
        {
            CallIfDue();
        }

        if (IsBlocked)
        {
            return 0;
        }

        var count = TakeBatch();
        if (count > 0)
        {
            _isInPoll = true;
            _isHandling = true;
            try
            {
                Handler.Handle(new ReadOnlySpan<VirtioRequestPointer>(_pool.Batch, count));
            }
            catch (Exception exception)
            {
                // Which of the batch the handler still owns is unknown, so the queue cannot go on.
                Break($"the device failed: {exception.Message}");
            }

            _isHandling = false;
            _isInPoll = false;
        }

        if (_completedCount != 0)
        {
            FlushCompleted(isEarly: false);
        }
        else if (_isCallOwed)
        {
            CallIfWanted();
        }

        return count;
    }

    /// <inheritdoc/>
    public override bool TryArm() => !_isCallDelayed && (IsBlocked || _ring.TryArm());

    /// <inheritdoc/>
    public override void Disarm()
    {
        if (!_isRingDetached)
        {
            _ring.Disarm();
        }
    }

    /// <inheritdoc/>
    public override bool TryTake(out VirtioRequest* request)
    {
        request = null;
        // A failed request is answered and the next one is tried: no more often than the ring has entries.
        for (var i = 0; i < Size && (_block & (QueueBlock.Broken | QueueBlock.Stopping | QueueBlock.Draining)) == 0; i++)
        {
            var available = _ring.BeginTake(out var fault);
            if (fault != ChainFault.None)
            {
                Break(fault.Describe());
                return false;
            }

            if (available == 0 || _pool.FreeCount == 0 || TakeOne() != PopResult.Taken)
            {
                return false;
            }

            var taken = _pool.Batch[0];
            if (taken->InvalidReason == ChainFault.None)
            {
                request = taken;
                return true;
            }

            AnswerInvalid(taken);
            Flush();
        }

        return false;
    }

    private protected override void MoveRing(VirtqueueAddresses addresses)
    {
        _ring.Move(addresses);
        MoveTracking(addresses);
        if (!IsBlocked)
        {
            _ring.Disarm();
        }
    }

    private protected override void FlushCompleted(bool isEarly)
    {
        var count = _completedCount;
        _completedCount = 0;
        var completed = _pool.Completed;
        if (MemoryFaultGuard.FaultCount != _memoryFaultCount)
        {
            CheckMemory();
        }

        if (!_isRingDetached)
        {
            for (var i = 0; i < count; i++)
            {
                _ring.PushUsed(completed[i]);
            }

            if (_isTracked)
            {
                TrackPublishing(completed, count, _ring.State);
            }

            _ring.Publish();
            if (_isTracked)
            {
                TrackPublished(completed, count, _ring.State);
            }

            if (isEarly)
            {
                _isCallOwed = true;
            }
            else
            {
                if (!IsBlocked)
                {
                    _ring.PrefetchNext(BatchSize);
                }

                CallIfWanted();
            }
        }
        else
        {
            _droppedCount += count;
        }

        for (var i = 0; i < count; i++)
        {
            Release(completed[i]);
        }

        if (_underWayCount == 0)
        {
            FinishIfDone();
        }
    }

    /// <summary>Interrupts the driver if it wants that for what was published since it was last asked.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void CallIfWanted()
    {
        _isCallOwed = false;
        if (!_isRingDetached && _ring.ShouldNotify())
        {
            Call();
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    [SkipLocalsInit]
    private int TakeBatch()
    {
        var available = _ring.BeginTake(out var fault);
        if (available == 0)
        {
            if (fault != ChainFault.None)
            {
                Break(fault.Describe());
            }

            return 0;
        }

        var limit = Math.Min(Math.Min(available, BatchSize), _pool.FreeCount);
        var batch = _pool.Batch;
        var answers = _pool.Answers;
        var count = 0;
        if (limit > 1)
        {
            _ring.Prefetch(limit);
        }
        else if (_isRepeating)
        {
            // One request at a time: index, entry, descriptor and header are a chain of cache misses, unless the latter two are where they were before.
            _ring.PrefetchAgain();
            WritePrefetch.Fetch(_pool.LastAnswer, 1);
        }

        for (var i = 0; i < limit; i++)
        {
            var request = _pool.Peek();
            var result = _ring.TryTake(ref _parser, request, out fault);
            if (result != PopResult.Taken)
            {
                if (result == PopResult.Broken)
                {
                    Break(fault.Describe());
                }

                break;
            }

            Own(request);
            if (request->InvalidReason != ChainFault.None)
            {
                AnswerInvalid(request);
                continue;
            }

            var answer = AnswerOf(request);
            answers[count] = answer;
            batch[count++] = request;
            if (Sse.IsSupported && (((nuint)answer ^ (nuint)request->Readable->Address) & ~(nuint)(CacheLineBytes - 1)) != 0)
            {
                // The header lies in a cache line of the driver's core: fetch the batch's headers side by side.
                Sse.Prefetch0(request->Readable->Address);
            }
        }

        _isRepeating = count == 1 && answers[0] == *_pool.LastAnswer;
        *_pool.LastAnswer = answers[0];
        var used = _ring.NextUsedLine;
        answers[count] = used;

        // The answers' lines are the driver's too, and with them come the headers that lie beside their answer, as Linux's blk driver has them.
        WritePrefetch.Fetch(answers, used == null ? count : count + 1);

        if (limit == 0)
        {
            BreakIfOverrun();
        }

        _requestCount += count;
        _batchCount++;
        return count;
    }

    /// <summary>Where the device type is going to write how the request went: at the end of the device-writable part, or before a read's data. A guess for prefetching.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte* AnswerOf(VirtioRequest* request)
    {
        var count = request->WritableCount;
        if (count == 0)
        {
            return request->Readable->Address;
        }

        var last = request->Writable + (count - 1);
        return last->LengthBytes <= LongestAnswerBytes ? last->Address : request->Writable->Address;
    }

    private PopResult TakeOne()
    {
        var request = _pool.Peek();
        var result = _ring.TryTake(ref _parser, request, out var fault);
        if (result == PopResult.Taken)
        {
            Own(request);
            _pool.Batch[0] = request;
            _requestCount++;
        }
        else if (result == PopResult.Broken)
        {
            Break(fault.Describe());
        }

        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Own(VirtioRequest* request)
    {
        _pool.Take();
        request->State = VirtioRequestState.UnderWay;
        request->MemoryEpoch = _memoryEpoch;
        _memoryLeases++;
        _underWayCount++;
        if (_isTracked)
        {
            TrackTaken(request, _ring.State);
        }
    }

    private protected override void ResumeRing(VirtqueueState state, int entriesUnderWay) => _ring.Resume(state, entriesUnderWay);

    private protected override PopResult TakeAgain(ushort entry, byte* descriptors, int count, VirtioRequest* request, out ChainFault fault) =>
        _ring.TakeAgain(ref _parser, request, entry, descriptors, count, out fault);

    /// <summary>All slots are taken and the ring may still offer more: then the driver made more available than it has entries.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void BreakIfOverrun()
    {
        // A packed ring finds that out by itself, descriptor by descriptor.
        if (typeof(TRing) == typeof(SplitDeviceRing))
        {
            Break(ChainFault.TooManyRequests.Describe());
        }
    }
}
