using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.Pci;
using Vhost.Plugins.VirtioScsi.Scsi;
using Vhost.VirtioPci;

namespace Vhost.Plugins.VirtioScsi.Queues;

/// <summary>
/// One reactor's request queue. Everything but the counters is touched on the reactor's thread only. Requests wait in a list through their own
/// scratch until a slot is free; a request that one command cannot carry takes several; a command that the target puts off is sent again, a
/// bounded number of times.
/// </summary>
internal sealed unsafe partial class RequestQueue : IPoller
{
    private const int ReapBudget = 64;
    private const int MaxRetries = 10;
    private readonly IRequestQueueOwner _owner;
    private readonly IReactor _reactor;
    private readonly List<VirtioScsiChannel> _channels = [];
    private readonly Queue<ScsiExchange> _exchanges = new();
    private readonly CompletionBatch _done = new();
    private readonly long _timeoutTicks;
    private PendingRequests _pending;
    private CommandSlot[] _slots = [];
    private int[] _freeSlots = [];
    private int _freeCount;
    private QueueMemory? _memory;
    private VirtioPciQueue? _doorbell;
    private IDmaDomain? _dma;
    private int _maxSegments;
    private nuint _maxTransferBytes;
    private int _retryCount;
    private QueueState _state = QueueState.Frozen;
    private BlockStatus _deadStatus = BlockStatus.NoDevice;
    private long _bouncedCommandCount;
    private long _commandCount;

    public RequestQueue(IRequestQueueOwner owner, IReactor reactor, TimeSpan timeout)
    {
        _owner = owner;
        _reactor = reactor;
        _timeoutTicks = (long)(timeout.TotalSeconds * Stopwatch.Frequency);
    }

    private enum QueueState
    {
        /// <summary>New requests wait: the device is being set up or reset.</summary>
        Frozen,

        /// <summary>Requests flow.</summary>
        Running,

        /// <summary>Requests fail at once.</summary>
        Dead,
    }

    /// <summary>The reactor that owns the queue.</summary>
    public IReactor Reactor => _reactor;

    /// <summary>Commands that went through a bounce buffer. Any thread.</summary>
    public long BouncedCommandCount => Volatile.Read(ref _bouncedCommandCount);

    /// <summary>Commands that were sent. Any thread.</summary>
    public long CommandCount => Volatile.Read(ref _commandCount);

    /// <summary>The poller's place in the reactor, set when it was added.</summary>
    public IPollerRegistration? Registration { get; set; }

    /// <summary>Takes a channel in and returns its index.</summary>
    public int AddChannel(VirtioScsiChannel channel)
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

    /// <summary>Requests flow, through a new ring.</summary>
    public void Start(QueueMemory memory, VirtioPciQueue doorbell, IDmaDomain dma, int maxSegments, nuint maxTransferBytes)
    {
        _memory = memory;
        _doorbell = doorbell;
        _dma = dma;
        _maxSegments = maxSegments;
        _maxTransferBytes = maxTransferBytes;
        var count = memory.Ring.UsesIndirect ? memory.Ring.Size : Math.Max(1, memory.Ring.Size / (maxSegments + 2));
        _slots = new CommandSlot[count];
        _freeSlots = new int[count];
        _freeCount = 0;
        for (var i = count - 1; i >= 0; i--)
        {
            _slots[i].BounceIndex = -1;
            _freeSlots[_freeCount++] = i;
        }

        memory.Ring.DisableInterrupts();
        _state = QueueState.Running;
        Pump();
        Deliver();
        Registration?.Activate();
    }

    /// <summary>No further command is sent; requests wait.</summary>
    public void Freeze()
    {
        if (_state == QueueState.Running)
        {
            _state = QueueState.Frozen;
        }
    }

    /// <summary>Fails every request that has a command outstanding: the device was reset, so it does no DMA for them any more. The rest waits.</summary>
    public void FailOutstanding(BlockStatus status)
    {
        for (var i = 0; i < _slots.Length; i++)
        {
            if (_slots[i].Request != null)
            {
                RequestProgress.Of(_slots[i].Request).IsAborted = true;
                FinishSlot(i, status, 0);
            }
            else if (_slots[i].Exchange is { } exchange)
            {
                FreeSlot(i);
                exchange.Complete(ScsiOutcome.Lost, []);
            }
            else if (_slots[i].IsOrphan)
            {
                FreeSlot(i);
            }
        }

        _slots = [];
        _freeCount = 0;
        _retryCount = 0;
        _memory = null;
        _doorbell = null;
        while (_exchanges.TryDequeue(out var waiting))
        {
            waiting.Complete(ScsiOutcome.Lost, []);
        }

        Deliver();
    }

    /// <summary>Fails everything, now and from now on.</summary>
    public void Kill(BlockStatus status)
    {
        _state = QueueState.Dead;
        _deadStatus = status;
        FailOutstanding(status);
        while (_pending.Head != null)
        {
            Conclude(_pending.Pop(), status);
        }

        Deliver();
    }

    /// <summary>Takes requests of a channel.</summary>
    public void Submit(int channelIndex, ReadOnlySpan<BlockRequestPointer> requests)
    {
        foreach (var pointer in requests)
        {
            var request = pointer.Pointer;
            ref var progress = ref RequestProgress.Of(request);
            progress = default;
            progress.ChannelIndex = channelIndex;
            _channels[channelIndex].OutstandingCount++;
            request->Information = 0;
            if (_state == QueueState.Dead)
            {
                Conclude(request, _deadStatus);
            }
            else if (Refuse(request, _channels[channelIndex].Disk) is var refusal and not BlockStatus.Success)
            {
                Conclude(request, refusal);
            }
            else
            {
                _pending.Push(request);
            }
        }

        if (!_done.IsDelivering)
        {
            Pump();
            Deliver();
        }

        Registration?.Activate();
    }

    /// <summary>Takes a command of the driver's own.</summary>
    public void Submit(ScsiExchange exchange)
    {
        if (_state == QueueState.Dead)
        {
            exchange.Complete(ScsiOutcome.Lost, []);
            return;
        }

        _exchanges.Enqueue(exchange);
        Pump();
        Registration?.Activate();
    }

    /// <summary>Ends a request early if that is possible.</summary>
    public void Abort(BlockRequest* request)
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
                AskForAbort(i);
            }
        }
    }

    /// <inheritdoc/>
    public int Poll()
    {
        if (_memory is null || _state != QueueState.Running)
        {
            return 0;
        }

        var ring = _memory.Ring;
        var count = 0;
        while (count < ReapBudget && ring.TryGetUsed(out var token, out var written))
        {
            count++;
            Complete((int)(uint)token, written);
        }

        if (ring.BrokenReason is { } reason)
        {
            Freeze();
            _owner.RequestReset(reason);
        }

        if (count != 0)
        {
            Pump();
            Deliver();
        }

        return count;
    }

    /// <inheritdoc/>
    public bool TryArm() => _state != QueueState.Running || _memory is null || _memory.Ring.TryEnableInterrupts();

    /// <inheritdoc/>
    public void Disarm() => _memory?.Ring.DisableInterrupts();

    /// <summary>Called every so often: sends again what was put off, and finds commands that were not answered in time.</summary>
    public void CheckDeadlines()
    {
        if (_state != QueueState.Running || _memory is null || _memory.Ring.UnderWayCount + _retryCount == 0)
        {
            return;
        }

        var now = _reactor.Timestamp;
        var isSent = false;
        for (var i = 0; i < _slots.Length; i++)
        {
            ref var slot = ref _slots[i];
            if (!slot.IsActive)
            {
                continue;
            }

            if (slot.RetryAt != 0)
            {
                if (now - slot.RetryAt >= 0)
                {
                    slot.RetryAt = 0;
                    _retryCount--;
                    isSent |= Send(i);
                }

                continue;
            }

            if (now - slot.Deadline < 0)
            {
                continue;
            }

            slot.Deadline = now + _timeoutTicks;
            if (slot.IsAborting)
            {
                Freeze();
                _owner.RequestReset("a command was not answered, and aborting it did not help");
                return;
            }

            AskForAbort(i);
        }

        if (isSent && _memory.Ring.Publish())
        {
            _doorbell!.Notify();
        }
    }

    private void AskForAbort(int index)
    {
        ref var slot = ref _slots[index];
        slot.IsAborting = true;
        _owner.RequestAbort(slot.Unit, TagOf(index, slot.Generation));
    }

    // A tag is never 0 and differs between two uses of a slot, so that an abort that comes late hits nothing else.
    private static ulong TagOf(int index, uint generation) => ((ulong)generation << 32) | (uint)(index + 1);

    private void Complete(int index, uint written)
    {
        ref var slot = ref _slots[index];
        if (slot.IsOrphan)
        {
            FreeSlot(index);
            return;
        }

        var page = _memory!.Page(index, out _);
        // SAFETY: the response lies within the command's page; the device has given it back.
        var outcome = *(ScsiOutcome*)(page + QueueMemory.ResponseOffset);
        // A device that counts what it wrote and wrote less than a response gave none. Some devices (the kernel's vhost-scsi) do not
        // count and say 0: for those, the response FAILURE that Send left there shows a response that was not written.
        if (written is > 0 and < 12)
        {
            outcome = ScsiOutcome.Lost;
        }

        if (slot.Exchange is { } exchange)
        {
            FreeSlot(index);
            var length = outcome.ResidualBytes <= (uint)exchange.DataInBytes ? exchange.DataInBytes - (int)outcome.ResidualBytes : 0;
            exchange.Complete(outcome, new ReadOnlySpan<byte>(page + QueueMemory.DataOffset, length).ToArray());
            return;
        }

        var request = slot.Request;
        var disk = _channels[RequestProgress.Of(request).ChannelIndex].Disk;
        var verdict = outcome.IsGood ? default : outcome.Judge();
        if (verdict.HasCapacityChanged || verdict.HasInventoryChanged)
        {
            _owner.RequestRescan(disk.Unit.Target);
        }

        if (verdict.CanRetry && slot.RetryCount < MaxRetries && !RequestProgress.Of(request).IsAborted)
        {
            // At once the first time (a unit attention tells something once), then after a growing pause.
            var milliseconds = slot.RetryCount == 0 ? 0 : 10L << Math.Min(slot.RetryCount, 7);
            slot.RetryCount++;
            slot.RetryAt = _reactor.Timestamp + (milliseconds * Stopwatch.Frequency / 1000) + 1;
            _retryCount++;
            return;
        }

        var status = verdict.Status == BlockStatus.Busy ? BlockStatus.IoError : verdict.Status;
        if (status == BlockStatus.Success && slot.BounceIndex >= 0 && request->Operation == BlockOperation.Read)
        {
            var cursor = new SegmentCursor(request->Segments, request->SegmentCount, slot.SegmentIndex, slot.SegmentOffset);
            cursor.Copy(_memory.Bounce!.Address(slot.BounceIndex), slot.LengthBytes, toBuffer: false);
        }
        else if (status == BlockStatus.IoError)
        {
            _owner.ReportError(disk.Unit, outcome, request->Operation, request->StartBlock);
        }

        FinishSlot(index, status, 0);
    }

    private void FinishSlot(int index, BlockStatus status, ulong information)
    {
        var request = _slots[index].Request;
        FreeSlot(index);
        ref var progress = ref RequestProgress.Of(request);
        progress.Outstanding--;
        if (status != BlockStatus.Success && progress.Status == BlockStatus.Success)
        {
            progress.Status = status;
            request->Information = information;
        }

        if (progress.Outstanding != 0)
        {
            return;
        }

        if (progress.IsPending)
        {
            // Not all of it was issued: the rest is, unless it failed or was aborted.
            if (progress.Status == BlockStatus.Success && !progress.IsAborted)
            {
                return;
            }

            _pending.Remove(request);
            if (progress.Status == BlockStatus.Success)
            {
                progress.Status = BlockStatus.Aborted;
            }
        }

        Conclude(request, progress.Status);
    }

    private void FreeSlot(int index)
    {
        ref var slot = ref _slots[index];
        if (slot.RetryAt != 0)
        {
            slot.RetryAt = 0;
            _retryCount--;
        }

        if (slot.BounceIndex >= 0)
        {
            _memory!.Bounce!.Return(slot.BounceIndex);
            slot.BounceIndex = -1;
        }

        slot.Request = null;
        slot.Exchange = null;
        slot.IsOrphan = false;
        slot.IsAborting = false;
        slot.RetryCount = 0;
        _freeSlots[_freeCount++] = index;
    }

    private void Conclude(BlockRequest* request, BlockStatus status)
    {
        var channel = _channels[RequestProgress.Of(request).ChannelIndex];
        request->Status = status;
        channel.OutstandingCount--;
        _done.Add(channel.Completions, request);
    }

    private void Deliver()
    {
        while (!_done.IsEmpty)
        {
            _done.Deliver();
            // What submitters sent from within waits in the list.
            if (!_done.IsDelivering && _pending.Head != null)
            {
                Pump();
            }
        }
    }
}
