using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.Pci;

namespace Vhost.BlockController;

/// <summary>
/// One reactor's queue of commands. Everything but the counters is touched on the reactor's thread only. Requests wait in a list through their own
/// scratch until a command slot is free; a request that one command cannot carry takes several. A driver derives from it how commands are written
/// (<see cref="Pump"/>) and how answers are read (<see cref="Poll"/>): once for each batch, so nothing here is called through a table for each request.
/// </summary>
public abstract unsafe partial class CommandQueue : IPoller
{
    private readonly ICommandQueueOwner _owner;
    private readonly List<QueueChannel> _channels = [];
    private readonly CompletionBatch _done = new();
    private readonly long _timeoutTicks;
    private CommandSlot[] _slots = [];
    private int _freeSlot = -1;
    private int _takenCount;
    private PendingRequests _pending;
    private BounceBuffers? _bounce;
    private IDmaDomain? _dma;
    private IPollerRegistration? _registration;
    private IDisposable? _timer;
    private QueueState _state = QueueState.Frozen;
    private BlockStatus _deadStatus = BlockStatus.NoDevice;
    private long _bouncedCommandCount;
    private long _commandCount;
    private long _answerCount;
    private long _pollCount;

    /// <summary>Creates the queue; its requests wait until <see cref="Open"/>.</summary>
    /// <param name="owner">The controller.</param>
    /// <param name="reactor">Whose queue it is.</param>
    /// <param name="name">For messages: <c>queue 1</c>.</param>
    /// <param name="timeout">How long a command may take before it is aborted; after as long again the controller is reset.</param>
    protected CommandQueue(ICommandQueueOwner owner, IReactor reactor, string name, TimeSpan timeout)
    {
        _owner = owner;
        Reactor = reactor;
        Name = name;
        _timeoutTicks = (long)(timeout.TotalSeconds * Stopwatch.Frequency);
    }

    /// <summary>The reactor that owns the queue.</summary>
    public IReactor Reactor { get; }

    /// <summary>What messages call the queue.</summary>
    public string Name { get; }

    /// <summary>Commands that went through a bounce buffer. Any thread.</summary>
    public long BouncedCommandCount => Volatile.Read(ref _bouncedCommandCount);

    /// <summary>Commands that were issued. Any thread.</summary>
    public long CommandCount => Volatile.Read(ref _commandCount);

    /// <summary>Answers that were taken. Any thread.</summary>
    internal long AnswerCount => Volatile.Read(ref _answerCount);

    /// <summary>How often the reactor looked for answers. Any thread.</summary>
    internal long PollCount => Volatile.Read(ref _pollCount);

    /// <summary>Whether the reactor polls the queue. The reactor.</summary>
    internal bool IsRegistered => _registration is not null;

    /// <summary>Whether the reactor looks for answers: it polls the queue, and requests flow. Any thread; what it says may be over.</summary>
    internal bool IsLookedAt => Volatile.Read(ref _registration) is not null && _state == QueueState.Running;

    /// <summary>Whether requests flow, wait, or fail.</summary>
    protected QueueState State => _state;

    /// <summary>Commands that can be outstanding; 0 while the controller is away.</summary>
    protected int SlotCount => _slots.Length;

    /// <summary>Slots that are in use.</summary>
    protected int TakenCount => _takenCount;

    /// <summary>Whether a command can be issued.</summary>
    protected bool HasFreeSlot => _freeSlot >= 0;

    /// <summary>The first request that waits for a slot, or null.</summary>
    protected BlockRequest* FirstPending => _pending.Head;

    /// <summary>The queue of a reactor.</summary>
    /// <typeparam name="T">The driver's queue.</typeparam>
    /// <param name="queues">One for each reactor.</param>
    /// <param name="reactor">The reactor.</param>
    /// <exception cref="ArgumentException">There is none.</exception>
    public static T Of<T>(IReadOnlyList<T> queues, IReactor reactor)
        where T : CommandQueue
    {
        ArgumentNullException.ThrowIfNull(queues);
        foreach (var queue in queues)
        {
            if (ReferenceEquals(queue.Reactor, reactor))
            {
                return queue;
            }
        }

        throw new ArgumentException($"reactor {reactor?.Id} is not one of those that the source was given", nameof(reactor));
    }

    /// <inheritdoc/>
    public abstract int Poll();

    /// <inheritdoc/>
    public abstract bool TryArm();

    /// <inheritdoc/>
    public abstract void Disarm();

    /// <summary>Requests wait again instead of failing: the controller is back, and about to be published.</summary>
    public void Revive()
    {
        if (_state == QueueState.Dead)
        {
            _state = QueueState.Frozen;
        }
    }

    /// <summary>No further command is issued; requests wait.</summary>
    public void Freeze()
    {
        if (_state == QueueState.Running)
        {
            _state = QueueState.Frozen;
        }
    }

    /// <summary>
    /// Fails every request that has a command outstanding: the controller was stopped, so it does no DMA for them any more. The rest waits.
    /// </summary>
    /// <param name="status">With what.</param>
    public void FailOutstanding(BlockStatus status)
    {
        LoseCommands();
        for (var i = 0; i < _slots.Length; i++)
        {
            if (_slots[i].Request != null)
            {
                // A request that was cut into commands ends as a whole: what remains of it is not issued.
                RequestProgress.Of(_slots[i].Request).IsAborted = true;
                Finish(i, status, 0);
            }
            else if (_slots[i].IsTaken)
            {
                Free(i);
            }
        }

        _slots = [];
        _freeSlot = -1;
        _bounce = null;
        _dma = null;
        LetGo();
        Deliver();
    }

    /// <summary>Fails everything, now and from now on.</summary>
    /// <param name="status">With what.</param>
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

    /// <summary>Called every so often: finds commands that were not answered in time.</summary>
    public virtual void CheckDeadlines()
    {
        if (_takenCount == 0 || _state != QueueState.Running)
        {
            return;
        }

        var now = Reactor.Timestamp;
        for (var i = 0; i < _slots.Length; i++)
        {
            ref var slot = ref _slots[i];
            if (!slot.IsTaken || now - slot.Deadline < 0)
            {
                continue;
            }

            slot.Deadline = now + _timeoutTicks;
            if (slot.IsAborting)
            {
                Break($"command {i} was not answered, and aborting it did not help");
                return;
            }

            slot.IsAborting = true;
            AskForAbort(i);
        }
    }

    /// <summary>Makes commands of what waits, as far as there are slots, and tells the controller of them once.</summary>
    protected abstract void Pump();

    /// <summary>Has a command aborted by the controller's thread.</summary>
    /// <param name="index">The command's slot.</param>
    protected abstract void AskForAbort(int index);

    /// <summary>
    /// Ends the controller's DMA at once, on the reactor, which cannot wait for the controller's thread. A reset is asked for afterwards.
    /// </summary>
    protected abstract void StopController();

    /// <summary>Before the outstanding commands fail: those that are nobody's request end here.</summary>
    protected virtual void LoseCommands()
    {
    }

    /// <summary>The outstanding commands have failed: what belongs to the controller's former life is let go of.</summary>
    protected abstract void LetGo();

    /// <summary>Requests flow. The driver has set up what <see cref="Pump"/> needs.</summary>
    /// <param name="slotCount">Commands that may be outstanding.</param>
    /// <param name="bounce">Buffers for data that the controller does not reach.</param>
    /// <param name="dma">What it reaches.</param>
    protected void Open(int slotCount, BounceBuffers bounce, IDmaDomain dma)
    {
        Debug.Assert(_takenCount == 0, "the former queue's commands were failed before");
        _bounce = bounce;
        _dma = dma;
        _slots = new CommandSlot[slotCount];
        _freeSlot = slotCount == 0 ? -1 : 0;
        for (var i = 0; i < _slots.Length; i++)
        {
            _slots[i] = new CommandSlot { NextFree = i + 1 < _slots.Length ? i + 1 : -1, BounceIndex = -1 };
        }

        _state = QueueState.Running;
        Pump();
        Deliver();
        _registration?.Activate();
    }

    /// <summary>A command's slot.</summary>
    /// <param name="index">Below <see cref="SlotCount"/>.</param>
    protected ref CommandSlot Slot(int index) => ref _slots[index];

    /// <summary>Whose request it is.</summary>
    /// <param name="request">A request that the queue has.</param>
    protected QueueChannel ChannelOf(BlockRequest* request) => _channels[RequestProgress.Of(request).ChannelIndex];

    /// <summary>Whether an answer may name this command.</summary>
    /// <param name="index">What the answer says, unchecked.</param>
    protected bool IsTaken(int index) => (uint)index < (uint)_slots.Length && _slots[index].IsTaken;

    /// <summary>The slot that <see cref="Take"/> takes next, for a command without data until the driver says otherwise. There is one.</summary>
    /// <param name="index">Its index.</param>
    protected ref CommandSlot Prepare(out int index)
    {
        index = _freeSlot;
        ref var slot = ref _slots[index];
        slot.BounceIndex = -1;
        slot.LengthBytes = 0;
        return ref slot;
    }

    /// <summary>Takes the slot that was prepared, for a command of the first request that waits, or of nobody. The controller is told of it next.</summary>
    /// <param name="slot">The slot.</param>
    /// <param name="request"><see cref="FirstPending"/>, or null.</param>
    /// <param name="blockCount">The request's blocks that the command is about.</param>
    protected void Take(ref CommandSlot slot, BlockRequest* request, ulong blockCount)
    {
        _freeSlot = slot.NextFree;
        _takenCount++;
        slot.IsTaken = true;
        slot.Request = request;
        if (request != null)
        {
            ref var progress = ref RequestProgress.Of(request);
            progress.BlocksIssued += blockCount;
            progress.Outstanding++;
            if (progress.BlocksIssued >= request->BlockCount)
            {
                _pending.Pop();
            }
        }

        MarkIssued(ref slot);
    }

    /// <summary>A command goes to the controller, for the first time or again: from now on it has to be answered in time.</summary>
    /// <param name="slot">Its slot.</param>
    protected void MarkIssued(ref CommandSlot slot)
    {
        slot.Deadline = Reactor.Timestamp + _timeoutTicks;
        Volatile.Write(ref _commandCount, _commandCount + 1);
    }

    /// <summary>Has a command carry its data in a bounce buffer, with the data in it if the controller reads them.</summary>
    /// <param name="slot">The command's slot.</param>
    /// <param name="request">The request.</param>
    /// <param name="cursor">Where the command's data begin.</param>
    /// <param name="limit">The most that the command may move.</param>
    /// <param name="mapped">What it moves.</param>
    /// <returns>False where no buffer is free: one comes back with the next bounced completion.</returns>
    protected bool TryBounce(ref CommandSlot slot, BlockRequest* request, SegmentCursor cursor, nuint limit, out nuint mapped)
    {
        mapped = nuint.Min(limit, BounceBuffers.BufferBytes);
        var bounce = _bounce!.Take();
        if (bounce < 0)
        {
            return false;
        }

        slot.BounceIndex = bounce;
        Volatile.Write(ref _bouncedCommandCount, _bouncedCommandCount + 1);
        _dma!.CountBounce(mapped);
        if (request->Operation != BlockOperation.Read)
        {
            cursor.Copy(_bounce.Address(bounce), mapped, toBuffer: true);
        }

        return true;
    }

    /// <summary>Puts what a bounced command read where it belongs.</summary>
    /// <param name="slot">The command's slot.</param>
    protected void TakeBouncedData(ref CommandSlot slot)
    {
        if (slot.BounceIndex >= 0 && slot.Request->Operation == BlockOperation.Read)
        {
            var cursor = new SegmentCursor(slot.Request->Segments, slot.Request->SegmentCount, slot.SegmentIndex, slot.SegmentOffset);
            cursor.Copy(_bounce!.Address(slot.BounceIndex), slot.LengthBytes, toBuffer: false);
        }
    }

    /// <summary>Ends <see cref="Poll"/>: counts, delivers what was completed, and issues what waited for a slot.</summary>
    /// <param name="answerCount">Answers that were taken.</param>
    /// <returns>The same.</returns>
    protected int EndPoll(int answerCount)
    {
        Volatile.Write(ref _pollCount, _pollCount + 1);
        if (answerCount != 0)
        {
            Volatile.Write(ref _answerCount, _answerCount + answerCount);
            Pump();
            Deliver();
        }

        return answerCount;
    }

    /// <summary>The controller did what it must not: no further command, and a reset.</summary>
    /// <param name="reason">What it did.</param>
    protected void Break(string reason)
    {
        Freeze();
        _owner.RequestReset($"{Name}: {reason}");
    }

    /// <summary>A command's end. Its slot is free afterwards, and its request ends with its last command.</summary>
    /// <param name="index">The command's slot.</param>
    /// <param name="status">How it ended.</param>
    /// <param name="information">What goes with the status.</param>
    protected void Finish(int index, BlockStatus status, ulong information)
    {
        var request = _slots[index].Request;
        Free(index);
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

    /// <summary>Frees the slot of a command that is nobody's request.</summary>
    /// <param name="index">The slot.</param>
    protected void Free(int index)
    {
        ref var slot = ref _slots[index];
        if (slot.BounceIndex >= 0)
        {
            _bounce!.Return(slot.BounceIndex);
            slot.BounceIndex = -1;
        }

        slot.Request = null;
        slot.IsTaken = false;
        slot.IsOrphan = false;
        slot.IsAborting = false;
        slot.NextFree = _freeSlot;
        _freeSlot = index;
        _takenCount--;
    }

    /// <summary>Lets the reactor look at the queue again, where it has stopped to.</summary>
    protected void Activate() => _registration?.Activate();

    private void Conclude(BlockRequest* request, BlockStatus status)
    {
        var channel = ChannelOf(request);
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
