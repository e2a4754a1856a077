using Vhost.Abstractions;

namespace Vhost.Host.Tests;

/// <summary>A reactor whose clock the test sets: time passes in <see cref="Step"/> and nowhere else. Everything runs on the test's thread.</summary>
internal sealed class SteppedReactor(int id = 0) : IReactor
{
    public const long TicksPerMillisecond = 1_000_000;

    private readonly Queue<(Action<object?> Action, object? State)> _messages = new();
    private readonly List<Timer> _timers = [];

    public int Id => id;

    public int CpuIndex => id;

    public bool IsCurrent => true;

    public long Timestamp { get; private set; } = 1_000 * TicksPerMillisecond;

    public int TimerCount => _timers.Count;

    public void Post(Action<object?> action, object? state) => _messages.Enqueue((action, state));

    public IPollerRegistration AddPoller(string name, IPoller poller, int wakeFileDescriptor) => throw new InvalidOperationException("no poller is expected here");

    public IDisposable AddTimer(TimeSpan period, Action<object?> callback, object? state)
    {
        var timer = new Timer(this, (long)(period.TotalMilliseconds * TicksPerMillisecond), callback, state) { Due = Timestamp };
        _timers.Add(timer);
        return timer;
    }

    /// <summary>Lets a millisecond pass.</summary>
    public void Step()
    {
        Timestamp += TicksPerMillisecond;
        RunMessages();
        for (var i = _timers.Count - 1; i >= 0; i--)
        {
            if (i < _timers.Count && _timers[i] is var timer && Timestamp >= timer.Due)
            {
                timer.Due = Timestamp + timer.Period;
                timer.Callback(timer.State);
            }
        }

        RunMessages();
    }

    private void RunMessages()
    {
        for (var count = _messages.Count; count > 0; count--)
        {
            var (action, state) = _messages.Dequeue();
            action(state);
        }
    }

    private sealed class Timer(SteppedReactor owner, long period, Action<object?> callback, object? state) : IDisposable
    {
        public long Period => period;

        public Action<object?> Callback => callback;

        public object? State => state;

        public long Due { get; set; }

        public void Dispose() => owner._timers.Remove(this);
    }
}
