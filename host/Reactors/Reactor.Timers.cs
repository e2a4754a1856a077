using System.Diagnostics;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using Vhost.Host.Observability;

namespace Vhost.Host.Reactors;

/// <summary>The timers: few of them, so a list that is walked when the earliest is due.</summary>
internal sealed partial class Reactor
{
    private readonly List<ReactorTimer> _timers = [];
    private long _nextTimerDue = long.MaxValue;

    /// <inheritdoc/>
    public IDisposable AddTimer(TimeSpan period, Action<object?> callback, object? state)
    {
        ArgumentNullException.ThrowIfNull(callback);
        ArgumentOutOfRangeException.ThrowIfLessThan(period, TimeSpan.FromMilliseconds(1));
        ThrowUnlessCurrent();
        var timer = new ReactorTimer(this, ToTicks(period), callback, state);
        timer.Due = Stopwatch.GetTimestamp() + timer.PeriodTicks;
        _timers.Add(timer);
        _nextTimerDue = Math.Min(_nextTimerDue, timer.Due);
        return timer;
    }

    internal void Remove(ReactorTimer timer)
    {
        if (!_ended.Task.IsCompleted)
        {
            ThrowUnlessCurrent();
            timer.IsStopped = true;
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private int RunTimers(long now)
    {
        var count = 0;
        // By index: a callback may add timers; stopped ones leave below, outside every callback.
        for (var i = 0; i < _timers.Count; i++)
        {
            var timer = _timers[i];
            if (timer.IsStopped || now < timer.Due)
            {
                continue;
            }

            // From now, not from when it was due: a late turn is not followed by a burst.
            timer.Due = now + timer.PeriodTicks;
            count++;
            _currentNote = timer;
            _currentIndex = InTimer;
            try
            {
                timer.Callback(timer.State);
            }
            catch (Exception exception)
            {
                OnTimerFailed(timer, exception, now);
            }
        }

        _currentIndex = Nowhere;
        _currentNote = null;
        _timers.RemoveAll(static timer => timer.IsStopped);
        var next = long.MaxValue;
        foreach (var timer in _timers)
        {
            next = Math.Min(next, timer.Due);
        }

        _nextTimerDue = next;
        return count;
    }

    private void OnTimerFailed(ReactorTimer timer, Exception exception, long now)
    {
        timer.Failures++;
        if (timer.Failures == 1 || now - timer.LastReport >= 10 * Stopwatch.Frequency)
        {
            timer.LastReport = now;
            _logger.LogError(HostEvents.TimerFailed, exception, "reactor {Reactor}: the timer '{Timer}' failed ({Count} times by now); it goes on", Id, timer.Name, timer.Failures);
        }
    }
}

/// <summary>A timer of a reactor. Reactor thread only.</summary>
internal sealed class ReactorTimer(Reactor owner, long periodTicks, Action<object?> callback, object? state) : IDisposable
{
    internal readonly long PeriodTicks = periodTicks;
    internal readonly Action<object?> Callback = callback;
    internal readonly object? State = state;
    internal long Due;
    internal long LastReport;
    internal long Failures;
    internal bool IsStopped;

    internal string Name => $"{Callback.Method.DeclaringType?.Name}.{Callback.Method.Name}";

    /// <inheritdoc/>
    public void Dispose() => owner.Remove(this);
}
