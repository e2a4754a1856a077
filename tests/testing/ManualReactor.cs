using System.Collections.Concurrent;
using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Testing;

/// <summary>
/// A reactor that the test turns by hand on its own thread: nothing happens between two calls of <see cref="Turn"/>. Whoever turns it is
/// "the reactor's thread" meanwhile. Posting is possible from every thread.
/// </summary>
public sealed class ManualReactor(int id = 0) : IReactor
{
    private readonly ConcurrentQueue<(Action<object?> Action, object? State)> _messages = new();
    private readonly List<ManualPoller> _pollers = [];
    private readonly List<ManualTimer> _timers = [];
    private int _turningThread = -1;

    public int Id => id;

    public int CpuIndex => 0;

    public bool IsCurrent => _turningThread == Environment.CurrentManagedThreadId;

    public long Timestamp { get; private set; } = Stopwatch.GetTimestamp();

    /// <summary>Whether pollers that have nothing to do are armed, as an adaptive reactor does; else they are polled for ever.</summary>
    public bool ArmsIdlePollers { get; set; } = true;

    /// <summary>What threw in messages; rethrown by <see cref="Turn"/> unless this is off.</summary>
    public bool RethrowsMessageFaults { get; set; } = true;

    /// <summary>Number of pollers that are registered.</summary>
    public int PollerCount => _pollers.Count;

    /// <summary>Whether every poller is armed and no message waits.</summary>
    public bool IsAsleep => _messages.IsEmpty && _pollers.TrueForAll(poller => poller.IsArmed);

    public void Post(Action<object?> action, object? state) => _messages.Enqueue((action, state));

    public IPollerRegistration AddPoller(string name, IPoller poller, int wakeFileDescriptor)
    {
        CheckCurrent();
        var added = new ManualPoller(this, name, poller, wakeFileDescriptor);
        _pollers.Add(added);
        return added;
    }

    public IDisposable AddTimer(TimeSpan period, Action<object?> callback, object? state)
    {
        CheckCurrent();
        var timer = new ManualTimer(_timers, period, callback, state);
        _timers.Add(timer);
        return timer;
    }

    /// <summary>One turn: messages, timers, then each active poller once.</summary>
    /// <returns>How much was done.</returns>
    public int Turn()
    {
        var previous = _turningThread;
        _turningThread = Environment.CurrentManagedThreadId;
        try
        {
            Timestamp = Stopwatch.GetTimestamp();
            var work = RunMessages();
            // Without a copy, which would count as an allocation of what is tested; a timer may take itself off.
            for (var i = _timers.Count - 1; i >= 0; i--)
            {
                work += i < _timers.Count ? _timers[i].RunIfDue(Timestamp) : 0;
            }

            for (var i = 0; i < _pollers.Count; i++)
            {
                work += _pollers[i].Turn();
            }

            return work;
        }
        finally
        {
            _turningThread = previous;
        }
    }

    /// <summary>Turns until there was nothing to do, at most a great number of times.</summary>
    public void TurnUntilIdle()
    {
        for (var i = 0; i < 1_000_000; i++)
        {
            if (Turn() == 0 && _messages.IsEmpty)
            {
                return;
            }
        }

        throw new TimeoutException("the reactor does not become idle");
    }

    /// <summary>Turns until a condition holds.</summary>
    public void TurnUntil(Func<bool> condition, TimeSpan? limit = null)
    {
        var end = Stopwatch.GetTimestamp() + (long)((limit ?? TimeSpan.FromSeconds(120)).TotalSeconds * Stopwatch.Frequency);
        while (!condition())
        {
            if (Turn() == 0)
            {
                Thread.Yield();
            }

            if (Stopwatch.GetTimestamp() > end)
            {
                throw new TimeoutException("what the test waits for does not happen");
            }
        }
    }

    /// <summary>Turns until a task is done, and gives its result.</summary>
    public T Run<T>(ValueTask<T> task)
    {
        var awaited = task.AsTask();
        TurnUntil(() => awaited.IsCompleted);
        return awaited.GetAwaiter().GetResult();
    }

    /// <summary>Turns until a task is done.</summary>
    public void Run(ValueTask task)
    {
        var awaited = task.AsTask();
        TurnUntil(() => awaited.IsCompleted);
        awaited.GetAwaiter().GetResult();
    }

    /// <summary>Runs an action as the reactor's thread, now.</summary>
    public void Invoke(Action action)
    {
        var previous = _turningThread;
        _turningThread = Environment.CurrentManagedThreadId;
        try
        {
            action();
        }
        finally
        {
            _turningThread = previous;
        }
    }

    /// <summary>Makes the calling thread the reactor's, without a closure; ended by <see cref="Leave"/>.</summary>
    /// <returns>What to give to <see cref="Leave"/>.</returns>
    public int Enter()
    {
        var previous = _turningThread;
        _turningThread = Environment.CurrentManagedThreadId;
        return previous;
    }

    /// <summary>Ends <see cref="Enter"/>.</summary>
    public void Leave(int previous) => _turningThread = previous;

    internal void Remove(ManualPoller poller)
    {
        CheckCurrent();
        _pollers.Remove(poller);
    }

    internal void CheckCurrent()
    {
        if (!IsCurrent)
        {
            throw new InvalidOperationException("this belongs on the reactor's thread");
        }
    }

    private int RunMessages()
    {
        var count = 0;
        // What a message posts waits for the next turn.
        for (var left = _messages.Count; left > 0 && _messages.TryDequeue(out var message); left--)
        {
            count++;
            try
            {
                message.Action(message.State);
            }
            catch (Exception) when (!RethrowsMessageFaults)
            {
                // The test looks at the consequences.
            }
        }

        return count;
    }

    private sealed class ManualTimer(List<ManualTimer> timers, TimeSpan period, Action<object?> callback, object? state) : IDisposable
    {
        private readonly long _ticks = (long)(period.TotalSeconds * Stopwatch.Frequency);
        private long _due = Stopwatch.GetTimestamp() + (long)(period.TotalSeconds * Stopwatch.Frequency);

        public int RunIfDue(long now)
        {
            if (now < _due)
            {
                return 0;
            }

            _due = now + _ticks;
            callback(state);
            return 1;
        }

        public void Dispose() => timers.Remove(this);
    }
}

/// <summary>A poller's place in a <see cref="ManualReactor"/>.</summary>
internal sealed class ManualPoller(ManualReactor reactor, string name, IPoller poller, int wakeFileDescriptor) : IPollerRegistration
{
    private bool _isDisposed;

    public bool IsArmed { get; private set; }

    public void Activate()
    {
        reactor.CheckCurrent();
        Wake();
    }

    public void Dispose()
    {
        if (!_isDisposed)
        {
            _isDisposed = true;
            reactor.Remove(this);
        }
    }

    public override string ToString() => name;

    internal int Turn()
    {
        if (IsArmed)
        {
            if (wakeFileDescriptor >= 0)
            {
                if (!Poll.WaitReadable(wakeFileDescriptor, 0))
                {
                    return 0;
                }

                EventFd.DrainRaw(wakeFileDescriptor);
            }

            // Without a descriptor an idle poller is polled now and then: here, each turn.
            Wake();
        }

        var work = poller.Poll();
        if (work == 0 && !_isDisposed && reactor.ArmsIdlePollers)
        {
            IsArmed = poller.TryArm();
        }

        return work;
    }

    private void Wake()
    {
        if (IsArmed)
        {
            IsArmed = false;
            poller.Disarm();
        }
    }
}
