using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>How a queue starts, changes its memory and stops. The session calls these on the reactor's thread.</summary>
public abstract partial class Virtqueue
{
    private const int StartAwaited = 0;
    private const int StartBegun = 1;
    private const int StartCalledOff = 2;

    private bool _isFinished;
    private bool _isFinishing;
    private int _startState;

    /// <summary>Creates a queue for the format of its ring. Any thread.</summary>
    /// <param name="context">What the queue needs.</param>
    internal static Virtqueue Create(VirtqueueContext context) => context.Setup.Format == VirtqueueFormat.Packed
        ? new Virtqueue<PackedDeviceRing>(context, new PackedDeviceRing(context.Setup, context.Features))
        : new Virtqueue<SplitDeviceRing>(context, new SplitDeviceRing(context.Setup, context.Features));

    /// <summary>Attaches the handler and begins to poll, unless the start was called off.</summary>
    /// <param name="kickFileDescriptor">What wakes the queue, or -1.</param>
    internal void Start(int kickFileDescriptor)
    {
        if (Interlocked.CompareExchange(ref _startState, StartBegun, StartAwaited) != StartAwaited)
        {
            // The reactor came to it too late: the ring and the kick may be gone, and the next session may have what this one had under way.
            return;
        }

        try
        {
            Handler.Attach(this);
            Disarm();
            ResubmitInFlight();
            _registration = Reactor.AddPoller(Name, this, kickFileDescriptor);
        }
        catch
        {
            _block |= QueueBlock.Stopping;
            Finish();
            throw;
        }
    }

    /// <summary>
    /// Sees to it that a <see cref="Start"/> that the reactor has not come to yet does nothing: from then on the queue touches no ring, no kick and no tracking area. Any
    /// thread; <see cref="GiveUp"/> has to follow on the reactor, for what the queue owns itself.
    /// </summary>
    /// <returns>False if the start has begun.</returns>
    internal bool TryCallOffStart()
    {
        if (Interlocked.CompareExchange(ref _startState, StartCalledOff, StartAwaited) != StartAwaited)
        {
            return false;
        }

        _isRingDetached = true;
        return true;
    }

    /// <summary>Takes no more requests; <see cref="Stopped"/> completes when those under way are done.</summary>
    internal void BeginStop()
    {
        if ((_block & QueueBlock.Stopping) != 0)
        {
            return;
        }

        _block |= QueueBlock.Stopping;
        EndPolling();
        Handler.OnStopping();
        Flush();
        SendDelayedCall();
        FinishIfDone();
    }

    /// <summary>Gives the queue up: nothing touches its ring from now on, whatever completes.</summary>
    /// <returns>How it stopped.</returns>
    internal VirtqueueStop GiveUp()
    {
        if (!_isFinished)
        {
            _block |= QueueBlock.Stopping;
            EndPolling();
            Flush();
            SendDelayedCall();
            _isRingDetached = true;
            Finish();
        }

        return new VirtqueueStop(State, _underWayCount);
    }

    /// <summary>Goes on with another memory map.</summary>
    /// <param name="memory">The new map.</param>
    /// <param name="addresses">Where the ring lies in it, or null: then the queue is broken off.</param>
    /// <returns>The requests that still use the former map, or null if there are none.</returns>
    internal MemoryLease? ReplaceMemory(GuestAddressSpace memory, VirtqueueAddresses? addresses)
    {
        // What is completed goes into the ring where it still is.
        Flush();
        MemoryLease? lease = null;
        if (_memoryLeases != 0)
        {
            lease = new MemoryLease(_memoryEpoch, _memory, _memoryLeases);
            _formerMemories.Add(lease);
            _memoryLeases = 0;
        }

        _memoryEpoch++;
        _memory = memory;
        _parser.SetSpace(memory);
        if (_isRingDetached)
        {
            return lease;
        }

        if (addresses is { } moved)
        {
            MoveRing(moved);
        }
        else
        {
            _isRingDetached = true;
            Break("the new memory map has no place for the ring");
        }

        return lease;
    }

    /// <summary>Called after requests were given back.</summary>
    private protected void FinishIfDone()
    {
        if (_underWayCount == 0 && (_block & QueueBlock.Draining) != 0)
        {
            _drained!.TrySetResult();
        }

        if (_underWayCount == 0 && (_block & QueueBlock.Stopping) != 0 && !_isFinishing)
        {
            _isFinishing = true;
            // Not from within a completion: the handler is going to close the channel that it came from.
            Reactor.Post(static state => ((Virtqueue)state!).Finish(), this);
        }
    }

    private void EndPolling()
    {
        var registration = _registration;
        _registration = null;
        registration?.Dispose();
    }

    private void Finish()
    {
        if (!_isFinished)
        {
            _isFinished = true;
            // What completed since the stop began waits for nothing: nobody polls for it.
            SendDelayedCall();
            _drained?.TrySetResult();
            var stop = new VirtqueueStop(State, _underWayCount);
            try
            {
                Handler.Detach();
            }
            finally
            {
                _stopped.SetResult(stop);
            }
        }

        if (_underWayCount == 0 && _handle.IsAllocated)
        {
            _isRingDetached = true;
            _pool.Dispose();
            _handle.Free();
        }
    }
}
