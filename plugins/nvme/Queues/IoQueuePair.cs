using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.Pci;
using Vhost.Plugins.Nvme.Protocol;

namespace Vhost.Plugins.Nvme.Queues;

/// <summary>
/// One reactor's I/O queue pair. Everything but the counters is touched on the reactor's thread only. Requests wait in a list through their
/// own scratch until a command slot is free; a request that one command cannot carry takes several.
/// </summary>
internal sealed unsafe partial class IoQueuePair : IPoller
{
    private const int ReapBudget = 64;
    private readonly IQueuePairOwner _owner;
    private readonly IReactor _reactor;
    private readonly List<NvmeChannel> _channels = [];
    private readonly CompletionBatch _done = new();
    private readonly long _timeoutTicks;
    private QueueMemory? _memory;
    private NvmeRing? _ring;
    private DataMapper? _mapper;
    private IoSlot[] _slots = [];
    private int _freeSlot = -1;
    private int _outstanding;
    private PendingRequests _pending;
    private nuint _maxTransferBytes;
    private PairState _state = PairState.Frozen;
    private BlockStatus _deadStatus = BlockStatus.NoDevice;
    private long _bouncedCommandCount;
    private long _commandCount;
    private IPciDevice? _device;
    private IDmaDomain? _dma;

    public IoQueuePair(IQueuePairOwner owner, IReactor reactor, int queueId, TimeSpan timeout)
    {
        _owner = owner;
        _reactor = reactor;
        QueueId = queueId;
        _timeoutTicks = (long)(timeout.TotalSeconds * Stopwatch.Frequency);
    }

    /// <summary>Whether requests flow, wait, or fail.</summary>
    private enum PairState
    {
        /// <summary>New requests wait: the controller is being set up or reset.</summary>
        Frozen,

        /// <summary>Requests flow.</summary>
        Running,

        /// <summary>Requests fail at once.</summary>
        Dead,
    }

    /// <summary>The queue's identifier, from 1.</summary>
    public int QueueId { get; }

    /// <summary>The reactor that owns the pair.</summary>
    public IReactor Reactor => _reactor;

    /// <summary>Commands that went through a bounce buffer. Any thread.</summary>
    public long BouncedCommandCount => Volatile.Read(ref _bouncedCommandCount);

    /// <summary>Commands that were issued. Any thread.</summary>
    public long CommandCount => Volatile.Read(ref _commandCount);

    /// <summary>The poller's place in the reactor, set when it was added.</summary>
    public IPollerRegistration? Registration { get; set; }

    /// <summary>Takes a channel in and returns its index.</summary>
    public int AddChannel(NvmeChannel channel)
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

    /// <summary>Requests flow again, through new queues.</summary>
    public void Start(QueueMemory memory, IPciDevice device, ControllerIdentity identity)
    {
        Debug.Assert(_outstanding == 0, "the former queues' commands were failed before");
        _memory = memory;
        _ring = memory.Ring;
        _device = device;
        _dma = device.Dma;
        _mapper = new DataMapper(device.Dma, identity.HasSgl, identity.SglNeedsDwords);
        _maxTransferBytes = nuint.Min(DataMapper.MaxTransferBytes, identity.MaxTransferBytes);
        _slots = new IoSlot[_ring.Capacity];
        _freeSlot = 0;
        for (var i = 0; i < _slots.Length; i++)
        {
            _slots[i] = new IoSlot { NextFree = i + 1 < _slots.Length ? i + 1 : -1, BounceIndex = -1 };
        }

        _state = PairState.Running;
        Pump();
        Deliver();
        Registration?.Activate();
    }

    /// <summary>Requests wait again instead of failing: the controller is back, and about to be published.</summary>
    public void Revive()
    {
        if (_state == PairState.Dead)
        {
            _state = PairState.Frozen;
        }
    }

    /// <summary>No further command is issued; requests wait.</summary>
    public void Freeze()
    {
        if (_state == PairState.Running)
        {
            _state = PairState.Frozen;
        }
    }

    /// <summary>
    /// Fails every request that has a command outstanding: the controller was disabled, so it does no DMA for them any more. The rest waits.
    /// </summary>
    public void FailOutstanding(BlockStatus status)
    {
        for (var i = 0; i < _slots.Length; i++)
        {
            if (_slots[i].Request != null)
            {
                // A request that was cut into commands ends as a whole: what remains of it is not issued.
                RequestProgress.Of(_slots[i].Request).IsAborted = true;
                FinishSlot(i, status, 0);
            }
            else if (_slots[i].IsOrphan)
            {
                FreeSlot(i);
            }
        }

        _slots = [];
        _freeSlot = -1;
        _ring = null;
        _memory = null;
        _device = null;
        _dma = null;
        Deliver();
    }

    /// <summary>Fails everything, now and from now on.</summary>
    public void Kill(BlockStatus status)
    {
        _state = PairState.Dead;
        _deadStatus = status;
        FailOutstanding(status);
        while (_pending.Head != null)
        {
            var request = _pending.Pop();
            Conclude(request, status);
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
            request->Information = 0;
            _channels[channelIndex].OutstandingCount++;
            if (_state == PairState.Dead)
            {
                Conclude(request, _deadStatus);
                continue;
            }

            if (Refuse(request, _channels[channelIndex]) is var refusal and not BlockStatus.Success)
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
                _slots[i].IsAborting = true;
                _owner.RequestAbort(this, i);
            }
        }
    }

    /// <inheritdoc/>
    public int Poll()
    {
        var ring = _ring;
        if (ring is null || _state != PairState.Running)
        {
            return 0;
        }

        var count = 0;
        while (count < ReapBudget && ring.TryPop(out var completion))
        {
            count++;
            int id = completion.CommandId;
            if ((uint)id >= (uint)_slots.Length || (_slots[id].Request == null && !_slots[id].IsOrphan))
            {
                _state = PairState.Frozen;
                _owner.RequestReset($"queue {QueueId}: a completion for command id {id}, which is not outstanding");
                break;
            }

            if (completion.SubmissionQueueId != QueueId)
            {
                _state = PairState.Frozen;
                _owner.RequestReset($"queue {QueueId}: a completion that names submission queue {completion.SubmissionQueueId}");
                break;
            }

            Complete(id, completion);
        }

        if (count != 0)
        {
            ring.AnnounceCompletions();
            if (_pending.Head != null)
            {
                Pump();
            }

            Deliver();
        }

        return count;
    }

    /// <inheritdoc/>
    public bool TryArm()
    {
        // Interrupts stay enabled in the completion queue; all there is to do is to open a masked INTx line, and to look once more.
        _memory?.Interrupt.Arm();
        // Store-load: pairs with the controller writing the completion before it raises the interrupt.
        Interlocked.MemoryBarrier();
        return _state != PairState.Running || _ring is not { HasCompletion: true };
    }

    /// <inheritdoc/>
    public void Disarm()
    {
    }

    /// <summary>Called every so often: finds commands that were not answered in time.</summary>
    public void CheckDeadlines()
    {
        if (_outstanding == 0 || _state != PairState.Running)
        {
            return;
        }

        var now = _reactor.Timestamp;
        for (var i = 0; i < _slots.Length; i++)
        {
            ref var slot = ref _slots[i];
            if ((slot.Request == null && !slot.IsOrphan) || now - slot.Deadline < 0)
            {
                continue;
            }

            slot.Deadline = now + _timeoutTicks;
            if (slot.IsAborting)
            {
                _state = PairState.Frozen;
                _owner.RequestReset($"queue {QueueId}: command {i} was not answered, and neither was its abort");
                return;
            }

            slot.IsAborting = true;
            _owner.RequestAbort(this, i);
        }
    }

    private void Complete(int id, in NvmeCompletion completion)
    {
        ref var slot = ref _slots[id];
        if (slot.IsOrphan)
        {
            FreeSlot(id);
            return;
        }

        var status = completion.ToBlockStatus();
        ulong information = 0;
        if (status == BlockStatus.Success)
        {
            if (slot.BounceIndex >= 0 && slot.Request->Operation == BlockOperation.Read)
            {
                var cursor = new SegmentCursor(slot.Request->Segments, slot.Request->SegmentCount, slot.SegmentIndex, slot.SegmentOffset);
                cursor.Copy(_memory!.Bounce.Address(slot.BounceIndex), slot.LengthBytes, toBuffer: false);
            }
        }
        else
        {
            if (status == BlockStatus.Miscompare)
            {
                // The controller does not say where; the start of the command's range is as near as it gets.
                information = slot.BlockOffset * _channels[RequestProgress.Of(slot.Request).ChannelIndex].BlockSizeBytes;
            }
            else if (status == BlockStatus.IoError)
            {
                _owner.ReportError(this, completion, slot.Request->Operation, slot.Request->StartBlock + slot.BlockOffset);
            }
        }

        FinishSlot(id, status, information);
    }

    private void FinishSlot(int id, BlockStatus status, ulong information)
    {
        var request = _slots[id].Request;
        FreeSlot(id);
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

    private void FreeSlot(int id)
    {
        ref var slot = ref _slots[id];
        if (slot.BounceIndex >= 0)
        {
            _memory!.Bounce.Return(slot.BounceIndex);
            slot.BounceIndex = -1;
        }

        slot.Request = null;
        slot.IsOrphan = false;
        slot.IsAborting = false;
        slot.NextFree = _freeSlot;
        _freeSlot = id;
        _outstanding--;
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
