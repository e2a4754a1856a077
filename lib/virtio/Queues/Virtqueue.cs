using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Virtio;

/// <summary>
/// The device's side of one running virtqueue. A handler completes requests through it. Everything is touched on the queue's reactor
/// only, unless a member says otherwise.
/// </summary>
public abstract unsafe partial class Virtqueue : IPoller
{
    /// <summary>
    /// The most requests in a batch. Half of what a driver keeps under way where it matters (32): so one half is served while the driver takes the answers of the other
    /// and refills it. A batch of all of them would have each side wait for the other in turn.
    /// </summary>
    public const int BatchSize = 16;

    /// <summary>
    /// An indirect table may have this many entries even if the queue is shorter. Section 2.7.5.3.1 allows the queue size only, but drivers
    /// size their tables by the device's segment limit.
    /// </summary>
    internal const int MinTableLimit = 1024;

    private const int LargeBlockCount = 128; // 64 KiB at least

    private protected readonly RequestPool _pool;
    private protected readonly ICallNotifier _call;
    private protected ChainParser _parser;
    private protected GuestAddressSpace _memory;
    private protected uint _memoryEpoch;
    private protected int _memoryLeases;
    private protected int _completedCount;
    private protected int _underWayCount;
    private protected bool _isInPoll;
    private protected bool _isHandling; // new requests, not those that a crash left under way
    private protected bool _isRingDetached;
    private protected QueueBlock _block;
    private protected ulong _memoryFaultCount;
    private protected long _requestCount;
    private protected long _batchCount;
    private protected long _callCount;
    private protected long _invalidCount;
    private protected long _droppedCount;

    private readonly List<MemoryLease> _formerMemories = [];
    private readonly Action<Virtqueue, string, bool> _onFault;
    private readonly TaskCompletionSource<VirtqueueStop> _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private GCHandle _handle;
    private IPollerRegistration? _registration;

    private protected Virtqueue(VirtqueueContext context)
    {
        Name = context.Name;
        Reactor = context.Reactor;
        Features = context.Features;
        Index = context.Setup.QueueIndex;
        Size = context.Setup.Size;
        Handler = context.Handler;
        _call = context.Setup.Call;
        _onFault = context.OnFault;
        _coalescing = context.Coalescing;
        _memory = context.Memory;
        _handle = GCHandle.Alloc(this);
        _pool = new RequestPool(Size, context.Handler.PrivateBytes, BatchSize, GCHandle.ToIntPtr(_handle));
        _parser = new ChainParser(_pool, _memory);
    }

    /// <summary>Names the queue in logs: <c>vhost.0 queue 2</c>. Any thread.</summary>
    public string Name { get; }

    /// <summary>The queue's index. Any thread.</summary>
    public int Index { get; }

    /// <summary>Number of entries. Any thread.</summary>
    public int Size { get; }

    /// <summary>The negotiated features. Any thread.</summary>
    public ulong Features { get; }

    /// <summary>The reactor that owns the queue. Any thread.</summary>
    public IReactor Reactor { get; }

    /// <summary>Number of request slots: the most requests that can be under way.</summary>
    public int SlotCount => _pool.SlotCount;

    /// <summary>Number of requests that the handler has. Any thread may read it; it is exact on the reactor's.</summary>
    public int UnderWayCount => Volatile.Read(ref _underWayCount);

    /// <summary>Whether the queue was given up: its memory may be gone, nothing may be read or written through its requests any more.</summary>
    public bool IsGivenUp => _isRingDetached;

    /// <summary>Whether the ring is invalid: nothing is taken from it any more. Any thread.</summary>
    public bool IsBroken => (_block & QueueBlock.Broken) != 0;

    /// <summary>Counts. Any thread.</summary>
    public VirtqueueStatistics Statistics => new(_requestCount, _batchCount, _callCount, _invalidCount, _droppedCount);

    /// <summary>Where the ring stands.</summary>
    internal abstract VirtqueueState State { get; }

    /// <summary>Completes, off the reactor, when the queue has stopped or was given up.</summary>
    internal Task<VirtqueueStop> Stopped => _stopped.Task;

    private protected IVirtqueueHandler Handler { get; }

    /// <summary>Whether nothing is taken from the ring at the moment.</summary>
    private protected bool IsBlocked => _block != QueueBlock.None;

    /// <summary>The queue that a request belongs to.</summary>
    /// <param name="request">A request that was not completed yet.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    // SAFETY: the handle is freed only after the last request came back.
    public static Virtqueue Of(VirtioRequest* request) => Unsafe.As<Virtqueue>(GCHandle.FromIntPtr(request->QueueHandle).Target!);

    /// <summary>A slot, to look for a request by what the handler keeps in its private area; see <see cref="VirtioRequest.IsUnderWay"/>.</summary>
    /// <param name="index">0 to <see cref="SlotCount"/> - 1.</param>
    public VirtioRequest* GetSlot(int index)
    {
        ObjectDisposedException.ThrowIf(!_handle.IsAllocated, this);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)SlotCount, nameof(index));
        return _pool.Slot(index);
    }

    /// <summary>
    /// Completes a request: the driver sees it after the next <see cref="Flush()"/>. A second completion of the same request is recognised and dropped.
    /// </summary>
    /// <param name="request">A request under way. The handler does not touch it any more.</param>
    /// <param name="writtenBytes">How much was written to its device-writable part, from the beginning (section 2.7.8.2).</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Complete(VirtioRequest* request, uint writtenBytes)
    {
        if (request->State != VirtioRequestState.UnderWay)
        {
            _droppedCount++;
            return;
        }

        request->State = VirtioRequestState.Completed;
        request->WrittenBytes = writtenBytes;
        _pool.Completed[_completedCount++] = request;
    }

    /// <summary>
    /// Shows the driver what was completed and interrupts it if it wants that. Call it once after each batch of completions that did not come from
    /// within <see cref="IVirtqueueHandler.Handle"/>; from within it does nothing, because the queue does it at the end of the batch.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Flush()
    {
        if (_completedCount != 0 && !_isInPoll)
        {
            FlushCompleted(isEarly: false);
        }
    }

    /// <summary>
    /// <see cref="Flush()"/> after some block requests; also from within <see cref="IVirtqueueHandler.Handle"/> if these were large and others are still under way: the rest
    /// takes microseconds, in which a driver that looks takes the answers and refills the queue. One that sleeps is interrupted at the end of the batch, once, as ever.
    /// </summary>
    /// <param name="wereLarge">Whether they were, by <see cref="AreLarge"/>.</param>
    public void Flush(bool wereLarge)
    {
        if (!wereLarge || !_isInPoll)
        {
            Flush();
        }
        else if (_isHandling && _completedCount != 0 && _underWayCount > _completedCount)
        {
            FlushCompleted(isEarly: true);
        }
    }

    /// <summary>Whether block requests are so large that it pays to show the driver a part of a batch. To be asked before they are completed: after that they are somebody else's.</summary>
    /// <param name="requests">The requests; the last one speaks for all.</param>
    public static bool AreLarge(ReadOnlySpan<BlockRequestPointer> requests) => requests.Length != 0 && requests[^1].Pointer->BlockCount >= LargeBlockCount;

    /// <summary>
    /// Gives a request back without an answer, because it has no place for one, and breaks the queue: the driver would wait for ever, or take
    /// stale memory for a success.
    /// </summary>
    /// <param name="request">A request under way.</param>
    /// <param name="reason">What is wrong with it, for the log.</param>
    public void Reject(VirtioRequest* request, string reason)
    {
        if (request->State != VirtioRequestState.UnderWay)
        {
            _droppedCount++;
            return;
        }

        Break(reason);
        Release(request);
        FinishIfDone();
    }

    /// <summary>
    /// Takes no requests from the ring until <see cref="Resume"/>: for a queue whose buffers are used when something happens. Its requests are then
    /// taken one by one by <see cref="TryTake"/>. Kicks of the driver are not asked for in the meantime.
    /// </summary>
    public void Pause() => _block |= QueueBlock.Paused;

    /// <summary>Takes requests again.</summary>
    public void Resume()
    {
        _block &= ~QueueBlock.Paused;
        _registration?.Activate();
    }

    /// <summary>Takes one request from the ring of a paused queue. An invalid one is answered or breaks the queue, and the next one is tried.</summary>
    /// <param name="request">The request, as in <see cref="IVirtqueueHandler.Handle"/>; call <see cref="Flush()"/> after it was completed.</param>
    /// <returns>False if there is none.</returns>
    public abstract bool TryTake(out VirtioRequest* request);

    /// <inheritdoc/>
    public abstract int Poll();

    /// <inheritdoc/>
    public abstract bool TryArm();

    /// <inheritdoc/>
    public abstract void Disarm();

    /// <summary>Shows the driver what was completed.</summary>
    /// <param name="isEarly">Whether the question if it wants an interrupt is left to the end of the batch.</param>
    private protected abstract void FlushCompleted(bool isEarly);

    private protected abstract void MoveRing(VirtqueueAddresses addresses);

    /// <summary>Takes no more requests from the ring, for ever, and tells the session why.</summary>
    private protected void Break(string reason)
    {
        if ((_block & QueueBlock.Broken) == 0)
        {
            _block |= QueueBlock.Broken;
            _onFault(this, reason, true);
        }
    }

    /// <summary>
    /// Somebody's memory went away. If it was this guest's, what was read of it since may be zeroes and what was written to it may be lost, so nothing is reported
    /// as done any more.
    /// </summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private protected void CheckMemory()
    {
        _memoryFaultCount = MemoryFaultGuard.FaultCount;
        if (!_isRingDetached && (_memory.HasFault() || _formerMemories.Exists(lease => lease.Space.HasFault())))
        {
            _isRingDetached = true;
            Break("the guest's memory went away while requests used it");
        }
    }

    private protected void ReportInvalidRequest(ChainFault fault)
    {
        _invalidCount++;
        _onFault(this, fault.Describe(), false);
    }

    /// <summary>Lets the handler answer an invalid request; breaks the queue if it cannot.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private protected void AnswerInvalid(VirtioRequest* request)
    {
        var fault = request->InvalidReason;
        if (Handler.TryFail(request, out var writtenBytes))
        {
            Complete(request, writtenBytes);
            ReportInvalidRequest(fault);
            return;
        }

        Break(fault.Describe());
        Release(request);
    }

    /// <summary>Gives a slot back with its share in its memory map.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private protected void Release(VirtioRequest* request)
    {
        if (request->MemoryEpoch == _memoryEpoch)
        {
            _memoryLeases--;
        }
        else
        {
            ReleaseFormerMemory(request->MemoryEpoch);
        }

        _underWayCount--;
        _pool.Return(request);
    }

    /// <summary>The map in which a request's segments lie.</summary>
    private protected GuestAddressSpace MemoryOf(VirtioRequest* request)
    {
        if (request->MemoryEpoch != _memoryEpoch)
        {
            foreach (var lease in _formerMemories)
            {
                if (lease.Epoch == request->MemoryEpoch)
                {
                    return lease.Space;
                }
            }
        }

        return _memory;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void ReleaseFormerMemory(uint epoch)
    {
        for (var i = 0; i < _formerMemories.Count; i++)
        {
            if (_formerMemories[i].Epoch == epoch)
            {
                if (_formerMemories[i].Release())
                {
                    _formerMemories.RemoveAt(i);
                }

                return;
            }
        }
    }
}
