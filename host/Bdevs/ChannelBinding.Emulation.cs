using Vhost.Abstractions;
using Vhost.Host.Reactors;

namespace Vhost.Host.Bdevs;

/// <summary>What does not go straight to the bdev: refused requests, emulated ones, and those that another one holds back.</summary>
internal sealed unsafe partial class ChannelBinding
{
    // Each active compare has a buffer.
    private const int MaxActiveCompares = 8;

    private readonly List<EmulatedOperation?> _operations = [];
    private readonly Stack<EmulatedOperation> _idleOperations = new();
    private readonly Queue<EmulatedOperation> _waitingCompares = new();
    private readonly List<BlockRequestPointer> _held = [];
    private Queue<EmulatedOperation> _ready = new();
    private Queue<EmulatedOperation> _readyRunning = new();
    private int _activeOperations;
    private int _activeCompares;
    private bool _isDeferred;
    private RangeFreeze? _freeze;
    private int _awaitedCount;
    private bool _isAcknowledged;

    /// <inheritdoc/>
    public string Name => $"bdev {Attachment.Name}";

    internal bool HasEmulated => _activeOperations > 0;

    internal BdevLimits Limits => Attachment.Limits;

    /// <inheritdoc/>
    public void RunDeferred()
    {
        _isDeferred = false;
        (_ready, _readyRunning) = (_readyRunning, _ready);
        while (_readyRunning.TryDequeue(out var operation))
        {
            if (IsOpen)
            {
                operation.OnStepDone();
            }
        }

        _channel.DeliverFinished();
        if (_isClosing)
        {
            CloseIfIdle();
        }
    }

    /// <summary>Sends one of the host's own requests to the bdev.</summary>
    internal void SubmitInternal(EmulatedOperation operation, BlockRequest* step)
    {
        var limits = Attachment.Limits;
        var verdict = limits.Check(step);
        // An atomic write goes down as such: another layer below has users of its own.
        if (limits.IsQuarantined || (verdict != Verdict.Pass && !(verdict == Verdict.Emulate && limits.TakesRange(step))))
        {
            // The bdev shrank, broke, or lost an operation between the check of the whole and this step.
            step->Status = limits.IsQuarantined ? BlockStatus.IoError : BlockStatus.OutOfRange;
            MakeReady(operation);
            return;
        }

        Track(step, _channel.Reactor.Timestamp);
        step->HostState = RequestState.Internal;
        step->SubmitterContext = operation.Index;
        var batch = new BlockRequestPointer(step);
        Pass(new ReadOnlySpan<BlockRequestPointer>(in batch));
    }

    /// <summary>An emulated request is done.</summary>
    internal void FinishEmulated(EmulatedOperation operation, BlockStatus status, ulong information)
    {
        var request = operation.Request;
        request->Information = information;
        request->Status = status;
        if (status == BlockStatus.Success)
        {
            Count(request, _channel.Now);
        }

        Leave(operation);
        _channel.Finish(request, status);
        if (_waitingCompares.Count > 0 && _activeCompares < MaxActiveCompares)
        {
            _activeCompares++;
            _waitingCompares.Dequeue().Start();
        }
    }

    /// <summary>Asks for the exclusive use of a request's range.</summary>
    internal RangeFreeze AcquireRange(BlockRequest* request, Action onGranted)
    {
        var freeze = new RangeFreeze(this, request->StartBlock, request->BlockCount, keepsReadersAway: request->Operation == BlockOperation.Write, onGranted);
        Attachment.Acquire(freeze);
        return freeze;
    }

    /// <summary>Runs an action on the reactor, outside every callback.</summary>
    /// <returns>False if the reactor was stopped.</returns>
    internal bool PostSafely(Action action)
    {
        try
        {
            _channel.Reactor.Post(static state => ((Action)state!)(), action);
            return true;
        }
        catch (ObjectDisposedException)
        {
            return false;
        }
    }

    /// <summary>Runs what follows a message: hands out results, and closes if that is wanted.</summary>
    internal void RunPosted(Action action)
    {
        if (IsOpen)
        {
            action();
            _channel.DeliverFinished();
        }
    }

    internal void PostFreeze(RangeFreeze freeze)
    {
        if (!PostSafely(() => Freeze(freeze)))
        {
            Attachment.Acknowledge(freeze);
        }
    }

    internal void PostThaw(RangeFreeze freeze) => PostSafely(() => Thaw(freeze));

    /// <summary>The channel is opened while a range is frozen. Under the attachment's lock.</summary>
    internal void JoinFrozen(RangeFreeze freeze)
    {
        _freeze = freeze;
        _isAcknowledged = true;
    }

    /// <summary>Takes back a request that waits for a thaw.</summary>
    internal bool RemoveHeld(BlockRequestPointer request)
    {
        var index = _held.FindIndex(held => held.Pointer == request.Pointer);
        if (index >= 0)
        {
            _held.RemoveAt(index);
        }

        return index >= 0;
    }

    private void SubmitSpecial(BlockRequest* request, Verdict verdict, long now)
    {
        request->Information = 0;
        if (verdict < 0)
        {
            _channel.Finish(request, (BlockStatus)(-(int)verdict));
        }
        else if (verdict == Verdict.Done)
        {
            _channel.Counters.Operations[(int)request->Operation & 7].Count++;
            _channel.Finish(request, BlockStatus.Success);
        }
        // Those that take a range themselves wait in the attachment's queue instead, where they have their turn.
        else if (_freeze is { } freeze && freeze.Overlaps(request) && !(verdict == Verdict.Emulate && Limits.TakesRange(request)))
        {
            request->HostState = RequestState.Waiting;
            _held.Add(new BlockRequestPointer(request));
        }
        else if (verdict == Verdict.Pass)
        {
            Track(request, now);
            var batch = new BlockRequestPointer(request);
            Pass(new ReadOnlySpan<BlockRequestPointer>(in batch));
        }
        else
        {
            request->HostScratch[1] = (ulong)now;
            Emulate(request);
        }
    }

    private void Emulate(BlockRequest* request)
    {
        request->HostState = RequestState.Emulated;
        _channel.Counters.Emulated++;
        if (!_idleOperations.TryPop(out var operation))
        {
            operation = new EmulatedOperation(this);
        }

        var index = _operations.IndexOf(null);
        if (index < 0)
        {
            index = _operations.Count;
            _operations.Add(null);
        }

        _operations[index] = operation;
        _activeOperations++;
        operation.Prepare(request, index);
        if (operation.IsCompare)
        {
            if (_activeCompares == MaxActiveCompares)
            {
                _waitingCompares.Enqueue(operation);
                return;
            }

            _activeCompares++;
        }

        operation.Start();
    }

    private void Leave(EmulatedOperation operation)
    {
        _operations[operation.Index] = null;
        _activeOperations--;
        if (operation.IsCompare)
        {
            _activeCompares--;
        }

        if (operation.TakeFreeze() is { } freeze)
        {
            Attachment.Release(freeze);
        }

        if (operation.IsAwaited)
        {
            OnAwaitedDone();
        }

        _idleOperations.Push(operation);
    }

    private void OnInternalCompleted(BlockRequest* step)
    {
        var index = (int)step->SubmitterContext;
        if ((uint)index < (uint)_operations.Count && _operations[index] is { } operation)
        {
            MakeReady(operation);
        }
    }

    private void MakeReady(EmulatedOperation operation)
    {
        _ready.Enqueue(operation);
        if (_isDeferred)
        {
            return;
        }

        _isDeferred = true;
        if (_channel.Reactor is Reactor own)
        {
            own.Defer(this);
        }
        else
        {
            PostSafely(RunDeferred);
        }
    }

    private void AbortEmulated(BlockRequest* request)
    {
        foreach (var operation in _operations)
        {
            if (operation is null || operation.Request != request)
            {
                continue;
            }

            operation.IsAborted = true;
            if (operation.IsStepUnderWay)
            {
                AbortAtBdev(new BlockRequestPointer(operation.Step));
            }

            return;
        }
    }

    /// <summary>Ends all emulated requests without waiting for their steps.</summary>
    /// <param name="status">How they end, or null if nobody wants to know.</param>
    private void AbandonEmulated(BlockStatus? status)
    {
        foreach (var operation in _operations)
        {
            if (operation is null)
            {
                continue;
            }

            if (operation.TakeFreeze() is { } freeze)
            {
                Attachment.Release(freeze);
            }

            if (status is { } known)
            {
                _channel.Finish(operation.Request, known);
            }

            if (!operation.IsStepUnderWay)
            {
                operation.Free();
            }

            // A step that the bdev still has stays allocated: a few hundred bytes and a buffer, against a write into freed memory.
        }

        _operations.Clear();
        _waitingCompares.Clear();
        _activeOperations = 0;
        _activeCompares = 0;
        FreeEmulated();
    }

    private void FreeEmulated()
    {
        while (_idleOperations.TryPop(out var operation))
        {
            operation.Free();
        }
    }

    private void FinishHeld(BlockStatus status)
    {
        foreach (var request in _held)
        {
            _channel.Finish(request.Pointer, status);
        }

        _held.Clear();
    }

    private void Freeze(RangeFreeze freeze)
    {
        if (!IsOpen || Volatile.Read(ref freeze.IsReleased))
        {
            Attachment.Acknowledge(freeze);
            return;
        }

        if (_freeze is not null)
        {
            // Its end was posted by another thread and is on its way.
            _freeze = null;
            SubmitHeld();
        }

        _freeze = freeze;
        _isAcknowledged = false;
        _awaitedCount = 0;
        foreach (var place in _places)
        {
            var request = (BlockRequest*)place;
            if (request is null || request->HostState == RequestState.Internal)
            {
                continue;
            }

            var isAwaited = freeze.Overlaps(request);
            request->HostState = isAwaited ? RequestState.UnderWayAwaited : RequestState.UnderWay;
            _awaitedCount += isAwaited ? 1 : 0;
        }

        foreach (var operation in _operations)
        {
            if (operation is not null)
            {
                operation.IsAwaited = !operation.TakesRange && freeze.Overlaps(operation.Request);
                _awaitedCount += operation.IsAwaited ? 1 : 0;
            }
        }

        if (_awaitedCount == 0)
        {
            _isAcknowledged = true;
            Attachment.Acknowledge(freeze);
        }
    }

    private void Thaw(RangeFreeze freeze)
    {
        if (IsOpen && ReferenceEquals(_freeze, freeze))
        {
            _freeze = null;
            SubmitHeld();
            _channel.DeliverFinished();
        }
    }

    private void SubmitHeld()
    {
        if (_held.Count == 0)
        {
            return;
        }

        BlockRequestPointer[] batch = [.. _held];
        if (_isClosing)
        {
            FinishHeld(BlockStatus.NoDevice);
            return;
        }

        _held.Clear();
        foreach (var request in batch)
        {
            request.Pointer->HostState = RequestState.Idle;
        }

        Submit(batch, _channel.Now);
    }

    private void OnAwaitedDone()
    {
        if (_awaitedCount > 0 && --_awaitedCount == 0 && _freeze is { } freeze && !_isAcknowledged)
        {
            _isAcknowledged = true;
            Attachment.Acknowledge(freeze);
        }
    }

    private void LeaveFreeze()
    {
        if (_freeze is { } freeze && !_isAcknowledged)
        {
            Attachment.Acknowledge(freeze);
        }

        _freeze = null;
    }
}
