using System.Diagnostics;
using System.Runtime.CompilerServices;
using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <content>Interrupts that wait for more completions, and the wait for the last request before a queue is moved.</content>
public abstract partial class Virtqueue
{
    private static readonly long RatePeriodTicks = Stopwatch.Frequency / 100;

    private protected readonly CallCoalescing? _coalescing;
    private protected bool _isCallDelayed;
    private long _callDue;
    private long _callDelayTicks;
    private long _rateSince;
    private long _rateBase;
    private long _delayedCallCount;
    private TaskCompletionSource? _drained;

    /// <summary>The queue at this moment. Any thread.</summary>
    public QueueStatus Status => new(Index, Size, Reactor.Id, UnderWayCount, _requestCount, _callCount, _delayedCallCount);

    /// <summary>Takes no more requests and says when the last one under way is done.</summary>
    internal Task BeginDrain()
    {
        _drained = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _block |= QueueBlock.Draining;
        Flush();
        FinishIfDone();
        return _drained.Task;
    }

    /// <summary>Goes on after <see cref="BeginDrain"/>.</summary>
    internal void EndDrain()
    {
        _block &= ~QueueBlock.Draining;
        if (!IsBlocked)
        {
            Disarm();
            _registration?.Activate();
        }
    }

    /// <summary>The driver wants to be interrupted: now, or a little later together with what completes until then.</summary>
    private protected void Call()
    {
        if (_coalescing?.Current is { } settings && IsToWait(settings))
        {
            return;
        }

        _isCallDelayed = false;
        _callCount++;
        _call.Notify();
    }

    /// <summary>Sends an interrupt that has waited long enough.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private protected void CallIfDue()
    {
        if (Reactor.Timestamp >= _callDue || _coalescing?.Current is null)
        {
            SendDelayedCall();
        }
    }

    /// <summary>Sends an interrupt that waits, because the queue ends or sleeps.</summary>
    private void SendDelayedCall()
    {
        if (_isCallDelayed)
        {
            _isCallDelayed = false;
            _callDue = Reactor.Timestamp + _callDelayTicks;
            _callCount++;
            _call.Notify();
        }
    }

    private bool IsToWait(CallCoalescing.Settings settings)
    {
        var now = Reactor.Timestamp;
        if (now - _rateSince >= RatePeriodTicks)
        {
            _callDelayTicks = _rateSince == 0 ? 0 : settings.GetDelayTicks((_requestCount - _rateBase) * (double)Stopwatch.Frequency / (now - _rateSince));
            _rateSince = now;
            _rateBase = _requestCount;
        }

        if (_callDelayTicks == 0)
        {
            return false;
        }

        if (_isCallDelayed)
        {
            return true;
        }

        if (now >= _callDue)
        {
            _callDue = now + _callDelayTicks;
            return false;
        }

        _isCallDelayed = true;
        _delayedCallCount++;
        return true;
    }
}
