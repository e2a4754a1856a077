using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Host.Manifest;
using Vhost.Linux;

namespace Vhost.Host.Reactors;

/// <summary>
/// One dedicated thread, pinned to one CPU, that polls. The loop is in <c>Reactor.Loop.cs</c>; this part has what other threads call.
/// </summary>
internal sealed partial class Reactor : IReactor, IAsyncDisposable
{
    private const int WakeToken = 0;

    private readonly ILogger _logger;
    private readonly ReactorMode _mode;
    private readonly ReactorTuning _tuning;
    private readonly MessageStack _messages = new();
    private readonly Epoll _epoll;
    private readonly EventFd _wake;
    private readonly TaskCompletionSource _started = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Thread _thread;
    private int _threadId;
    private int _threadState; // 0 not started, 1 started, 2 disposed
    private volatile bool _stopRequested;
    private volatile ReactorHealth _health = new(ReactorHealthState.Stopped);
    private long _timestamp;
    private ReactorCounters _counters;

    /// <summary>Makes a reactor; <see cref="StartAsync"/> starts its thread.</summary>
    /// <param name="id">Index in the host.</param>
    /// <param name="cpuIndex">The CPU to pin to.</param>
    /// <param name="mode">What to do when idle.</param>
    /// <param name="logger">Logs faults; never on the data path.</param>
    /// <param name="tuning">Times, or null for the defaults.</param>
    internal Reactor(int id, int cpuIndex, ReactorMode mode, ILogger logger, ReactorTuning? tuning = null)
    {
        Id = id;
        CpuIndex = cpuIndex;
        _logger = logger;
        _mode = mode;
        _tuning = tuning ?? new ReactorTuning();
        _lingerTicks = mode switch
        {
            ReactorMode.Poll => long.MaxValue,
            ReactorMode.Interrupt => 0,
            _ => ToTicks(_tuning.Linger),
        };
        _lookTicks = ToTicks(_tuning.LookInterval);
        _maxBackOffTicks = ToTicks(_tuning.MaxBackOff);
        _epoll = Epoll.Create();
        _wake = EventFd.Create();
        _epoll.Add(_wake.Raw, EpollEvents.In | EpollEvents.EdgeTriggered, WakeToken);
        _wakeFileDescriptor = _wake.Raw;
        _thread = new Thread(Run) { Name = $"reactor_{id}", IsBackground = true };
    }

    /// <inheritdoc/>
    public int Id { get; }

    /// <inheritdoc/>
    public int CpuIndex { get; }

    /// <inheritdoc/>
    public bool IsCurrent => Environment.CurrentManagedThreadId == Volatile.Read(ref _threadId);

    /// <inheritdoc/>
    public long Timestamp => _timestamp;

    /// <summary>Whether it turns. Any thread; kept by the watchdog.</summary>
    internal ReactorHealth Health
    {
        get => _health;
        set => _health = value;
    }

    /// <summary>How long a turn may take.</summary>
    internal TimeSpan StuckAfter => _tuning.StuckAfter;

    /// <summary>Starts the thread; completes when it is pinned and turns.</summary>
    /// <exception cref="LinuxException">The CPU does not exist or is not allowed to this process.</exception>
    internal async Task StartAsync()
    {
        if (Interlocked.CompareExchange(ref _threadState, 1, 0) != 0)
        {
            throw new InvalidOperationException($"reactor {Id} was started before");
        }

        _thread.Start();
        await _started.Task.ConfigureAwait(false);
    }

    /// <summary>Stops the thread after the messages that are there.</summary>
    /// <param name="limit">How long to wait.</param>
    /// <returns>False if the thread did not return in time: it is stuck in a poller that <see cref="Describe"/> names.</returns>
    internal async Task<bool> StopAsync(TimeSpan limit)
    {
        _stopRequested = true;
        if (Interlocked.CompareExchange(ref _threadState, 2, 0) == 0)
        {
            _ended.TrySetResult();
            _epoll.Dispose();
            _wake.Dispose();
            return true;
        }

        // The thread closes its descriptors itself when it ends, so an ended reactor is not signalled.
        if (!_ended.Task.IsCompleted)
        {
            WakeUp();
        }

        var first = await Task.WhenAny(_ended.Task, Task.Delay(limit)).ConfigureAwait(false);
        return ReferenceEquals(first, _ended.Task);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync() => await StopAsync(TimeSpan.FromSeconds(1)).ConfigureAwait(false);

    /// <inheritdoc/>
    public void Post(Action<object?> action, object? state)
    {
        ArgumentNullException.ThrowIfNull(action);
        if (!TryPost(new ActionMessage(action, state)))
        {
            throw new ObjectDisposedException($"reactor {Id}", "the reactor was stopped");
        }
    }

    /// <summary>Sends a message that the caller owns. Any thread; does not allocate.</summary>
    /// <param name="message">A message that is not under way.</param>
    /// <returns>False if the reactor was stopped; the message will not run.</returns>
    internal bool TryPost(ReactorMessage message)
    {
        // The push is a full fence; it pairs with the fence between setting Asleep and looking for messages in Sleep().
        if (!_messages.TryPush(message))
        {
            return false;
        }

        if (Volatile.Read(ref _counters.Asleep) != 0)
        {
            WakeUp();
        }

        return true;
    }

    /// <summary>A copy of the counters. Any thread.</summary>
    internal ReactorStatistics GetStatistics() => new(
        Volatile.Read(ref _counters.Turns),
        Stopwatch.GetElapsedTime(0, Volatile.Read(ref _counters.BusyTicks)),
        Stopwatch.GetElapsedTime(0, Volatile.Read(ref _counters.IdleTicks)),
        Stopwatch.GetElapsedTime(0, Volatile.Read(ref _counters.SleepTicks)),
        Volatile.Read(ref _counters.Polls),
        Volatile.Read(ref _counters.Items),
        Volatile.Read(ref _counters.Sleeps),
        Volatile.Read(ref _counters.WakeUps),
        Volatile.Read(ref _counters.Looks),
        Volatile.Read(ref _counters.Messages),
        Volatile.Read(ref _counters.Quarantined))
    {
        AllocatedBytes = Volatile.Read(ref _counters.AllocatedBytes),
        CompiledMethods = Volatile.Read(ref _counters.CompiledMethods),
    };

    /// <summary>For the watchdog: the number of the turn, and whether the thread sleeps by right.</summary>
    internal (long Turn, bool IsAsleep) GetProgress() => (Volatile.Read(ref _counters.Turns), Volatile.Read(ref _counters.Asleep) != 0);

    /// <summary>For the watchdog: what the thread is in, as far as another thread can tell. Exact when the thread is stuck.</summary>
    internal string Describe()
    {
        var index = Volatile.Read(ref _currentIndex);
        var active = Volatile.Read(ref _active);
        if (index >= 0)
        {
            return index < active.Length && active[index] is { } slot ? $"poller '{slot.Name}'" : "a poller that is being removed";
        }

        return index switch
        {
            InMessage => $"message '{(Volatile.Read(ref _currentNote) as ReactorMessage)?.Name}'",
            InTimer => $"timer '{(Volatile.Read(ref _currentNote) as ReactorTimer)?.Name}'",
            InPoller => $"poller '{(Volatile.Read(ref _currentNote) as PollerSlot)?.Name}'",
            InDeferred => $"work of '{(Volatile.Read(ref _currentNote) as IDeferredWork)?.Name}'",
            _ => "its own loop",
        };
    }

    private static long ToTicks(TimeSpan time) => (long)(time.TotalSeconds * Stopwatch.Frequency);

    private void WakeUp()
    {
        // Held while it is written to: the thread closes it when it ends, and its number may be another file's at once.
        var isHeld = false;
        try
        {
            _wake.DangerousAddRef(ref isHeld);
            EventFd.SignalRaw(_wakeFileDescriptor);
        }
        catch (ObjectDisposedException)
        {
            // The thread ended in between: nobody is left to wake.
        }
        finally
        {
            if (isHeld)
            {
                _wake.DangerousRelease();
            }
        }
    }

    private void ThrowUnlessCurrent()
    {
        if (!IsCurrent)
        {
            throw new InvalidOperationException($"this may be called on the thread of reactor {Id} only; post a message to get there");
        }
    }

    private sealed class ActionMessage(Action<object?> action, object? state) : ReactorMessage
    {
        internal override string Name => $"{action.Method.DeclaringType?.Name}.{action.Method.Name}";

        internal override void Run() => action(state);
    }
}
