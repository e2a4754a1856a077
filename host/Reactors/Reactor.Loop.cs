using System.Diagnostics;
using System.Runtime;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using Vhost.Host.Manifest;
using Vhost.Host.Observability;
using Vhost.Linux;

namespace Vhost.Host.Reactors;

/// <summary>Work that runs at the end of the turn, when no plugin is on the stack.</summary>
internal interface IDeferredWork
{
    /// <summary>Names the work when it throws or does not return.</summary>
    string Name { get; }

    /// <summary>Runs on the reactor's thread. May defer itself again, to the next turn.</summary>
    void RunDeferred();
}

/// <summary>The loop.</summary>
internal sealed partial class Reactor
{
    private const int Nowhere = -1;
    private const int InMessage = -2;
    private const int InTimer = -3;
    private const int InPoller = -4;
    private const int InDeferred = -5;
    private const int MaxLoopFaults = 10;
    private const int LooksPerTurn = 4;
    private const int FewPollers = 4;

    private readonly EpollEvent[] _events = new EpollEvent[64];
    private readonly int _wakeFileDescriptor;
    private readonly long _lingerTicks;
    private readonly long _lookTicks;
    private readonly long _maxBackOffTicks;
    private long _lastLook;
    private bool _wasBusy;

    // What the thread is in, for the watchdog: an index of _active, or one of the constants and _currentNote.
    private int _currentIndex = Nowhere;
    private object? _currentNote;

    private IDeferredWork[] _deferred = new IDeferredWork[16];
    private IDeferredWork[] _deferredRunning = new IDeferredWork[16];
    private int _deferredCount;

    /// <summary>Runs work at the end of this turn. Reactor thread only.</summary>
    /// <param name="work">The work; the caller sees to it that it is not added twice.</param>
    internal void Defer(IDeferredWork work)
    {
        if (_deferredCount == _deferred.Length)
        {
            Array.Resize(ref _deferred, _deferredCount * 2);
        }

        _deferred[_deferredCount++] = work;
    }

    private void Run()
    {
        Volatile.Write(ref _threadId, Environment.CurrentManagedThreadId);
        try
        {
            Scheduling.PinCurrentThread(CpuIndex);
        }
        catch (LinuxException exception)
        {
            End(new ReactorHealth(ReactorHealthState.Failed, exception.Message));
            _started.TrySetException(exception);
            return;
        }

        _timestamp = Stopwatch.GetTimestamp();
        _health = ReactorHealth.Healthy;
        _started.TrySetResult();

        var faults = 0;
        while (true)
        {
            try
            {
                // The loop itself stays trivial: Turn() tiers up by its call count.
                while (!_stopRequested)
                {
                    Turn();
                }

                End(new ReactorHealth(ReactorHealthState.Stopped));
                return;
            }
            catch (Exception exception)
            {
                _currentIndex = Nowhere;
                Volatile.Write(ref _counters.Asleep, 0);
                _logger.LogCritical(HostEvents.ReactorFailed, exception, "reactor {Reactor} (CPU {Cpu}): its loop failed; this is a fault of vhostd, please report it", Id, CpuIndex);
                if (++faults == MaxLoopFaults)
                {
                    End(new ReactorHealth(ReactorHealthState.Failed, exception.Message));
                    return;
                }
            }
        }
    }

    private void End(ReactorHealth health)
    {
        for (var message = _messages.Close(); message is not null;)
        {
            message = RunMessage(message);
        }

        _health = health;
        foreach (var slot in _slots.Values)
        {
            slot.Duplicate?.Dispose();
        }

        _epoll.Dispose();
        _wake.Dispose();
        _ended.TrySetResult();
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Turn()
    {
        var now = Stopwatch.GetTimestamp();
        var passed = now - _timestamp;
        _timestamp = now;
        ref var counters = ref _counters;
        if (_wasBusy)
        {
            counters.BusyTicks += passed;
        }
        else
        {
            counters.IdleTicks += passed;
        }

        counters.Turns++;
        var handled = PollActive(now);
        for (var look = 1; handled == 0 && look < LooksPerTurn && _activeCount is > 0 and <= FewPollers; look++)
        {
            // A lone request waits until its queue is looked at. The clock, and what else a turn looks at, takes longer than that and can wait.
            handled = PollActive(now);
        }

        if (_deferredCount > 0)
        {
            handled += RunDeferred();
        }

        if (_messages.HasPending)
        {
            handled += RunMessages();
        }

        if (now >= _nextTimerDue)
        {
            handled += RunTimers(now);
        }

        if (now >= _nextBackOffDue)
        {
            handled += PollBackOff(now);
        }

        if (_activeHoles)
        {
            CompactActive();
        }

        _wasBusy = handled > 0;
        if (_activeCount == 0)
        {
            if (_deferredCount == 0 && handled == 0)
            {
                Rest();
            }
        }
        else if (_armedCount > 0 && now - _lastLook >= _lookTicks)
        {
            _lastLook = now;
            counters.Looks++;
            Dispatch(_epoll.Wait(_events, 0));
        }
    }

    /// <summary>Nothing is active: sleeps until something happens, or in poll mode just does not hog the core's other hyperthread.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Rest()
    {
        if (_mode == ReactorMode.Poll)
        {
            Thread.SpinWait(1);
            return;
        }

        var timeout = GetSleepMilliseconds();
        NoteRuntime();
        Volatile.Write(ref _counters.Asleep, 1);
        // Store of Asleep before load of the message head; pairs with the full fence of MessageStack.TryPush before it reads Asleep.
        Interlocked.MemoryBarrier();
        if (_messages.HasPending || _stopRequested)
        {
            Volatile.Write(ref _counters.Asleep, 0);
            return;
        }

        var before = Stopwatch.GetTimestamp();
        var count = _epoll.Wait(_events, timeout);
        Volatile.Write(ref _counters.Asleep, 0);
        var now = Stopwatch.GetTimestamp();
        _counters.Sleeps++;
        _counters.SleepTicks += now - before;
        _counters.IdleTicks += now - _timestamp;
        _timestamp = now;
        _lastLook = now;
        Dispatch(count);
    }

    /// <summary>Notes what the runtime did on this thread: at moments that cost a system call anyhow.</summary>
    private void NoteRuntime()
    {
        _counters.AllocatedBytes = GC.GetAllocatedBytesForCurrentThread();
        _counters.CompiledMethods = JitInfo.GetCompiledMethodCount(currentThread: true);
    }

    private int GetSleepMilliseconds()
    {
        var due = Math.Min(_nextTimerDue, _nextBackOffDue);
        if (due == long.MaxValue)
        {
            return -1;
        }

        var ticks = due - Stopwatch.GetTimestamp();
        return ticks <= 0 ? 0 : (int)Math.Min(int.MaxValue, ((ticks * 1000) + Stopwatch.Frequency - 1) / Stopwatch.Frequency);
    }

    private void Dispatch(int count)
    {
        for (var i = 0; i < count; i++)
        {
            var token = _events[i].Token;
            if (token == WakeToken)
            {
                EventFd.DrainRaw(_wakeFileDescriptor);
            }
            else if (_slots.TryGetValue(token, out var slot))
            {
                OnReadable(slot);
            }
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private int RunMessages()
    {
        var count = 0;
        for (var message = _messages.TakeAll(); message is not null; count++)
        {
            message = RunMessage(message);
        }

        _counters.Messages += count;
        NoteRuntime();
        return count;
    }

    private ReactorMessage? RunMessage(ReactorMessage message)
    {
        // Read before it runs: a message may be sent again from within.
        var next = message.Previous;
        message.Previous = null;
        _currentNote = message;
        _currentIndex = InMessage;
        try
        {
            message.Run();
        }
        catch (Exception exception)
        {
            _logger.LogError(HostEvents.MessageFailed, exception, "reactor {Reactor}: the message '{Message}' failed", Id, message.Name);
        }

        _currentIndex = Nowhere;
        _currentNote = null;
        return next;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private int RunDeferred()
    {
        (_deferred, _deferredRunning) = (_deferredRunning, _deferred);
        var count = _deferredCount;
        _deferredCount = 0;
        var running = _deferredRunning;
        for (var i = 0; i < count; i++)
        {
            var work = running[i];
            running[i] = null!;
            _currentNote = work;
            _currentIndex = InDeferred;
            try
            {
                work.RunDeferred();
            }
            catch (Exception exception)
            {
                _logger.LogError(HostEvents.DeferredWorkFailed, exception, "reactor {Reactor}: work of '{Work}' failed", Id, work.Name);
            }
        }

        _currentIndex = Nowhere;
        _currentNote = null;
        return count;
    }
}
