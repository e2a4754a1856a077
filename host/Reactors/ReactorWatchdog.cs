using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Vhost.Host.Observability;

namespace Vhost.Host.Reactors;

/// <summary>
/// Looks at all reactors from a thread of its own (the thread pool may be what a plugin hangs) and names what keeps one from turning.
/// </summary>
internal sealed class ReactorWatchdog : IDisposable
{
    private readonly IReadOnlyList<Reactor> _reactors;
    private readonly ILogger _logger;
    private readonly (long Turn, long Since, bool IsReported)[] _seen;
    private readonly ManualResetEventSlim _stop = new();
    private readonly Thread _thread;
    private readonly TimeSpan _interval;
    private readonly TimeSpan _giveUpAfter;
    private readonly Action<string>? _onGivenUp;
    private bool _hasGivenUp;
    private long _lastLook;

    /// <summary>Starts to watch.</summary>
    /// <param name="reactors">Started reactors.</param>
    /// <param name="logger">Where to name what is stuck.</param>
    /// <param name="giveUpAfter">How long a reactor may be stuck before the last resort.</param>
    /// <param name="onGivenUp">The last resort: called once, on the watchdog's thread, with the reason; or null.</param>
    internal ReactorWatchdog(IReadOnlyList<Reactor> reactors, ILogger logger, TimeSpan giveUpAfter = default, Action<string>? onGivenUp = null)
    {
        _giveUpAfter = giveUpAfter;
        _onGivenUp = onGivenUp;
        _reactors = reactors;
        _logger = logger;
        _lastLook = Stopwatch.GetTimestamp();
        _seen = new (long, long, bool)[reactors.Count];
        Array.Fill(_seen, (-1, _lastLook, false));
        _interval = reactors.Select(reactor => reactor.StuckAfter).DefaultIfEmpty(TimeSpan.FromSeconds(1)).Min() / 4;
        _thread = new Thread(Watch) { Name = "reactor watchdog", IsBackground = true };
        _thread.Start();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_stop.IsSet)
        {
            _stop.Set();
            _thread.Join();
            _stop.Dispose();
        }
    }

    private void Watch()
    {
        while (!_stop.Wait(_interval))
        {
            LookAtAll(Stopwatch.GetTimestamp());
        }
    }

    /// <summary>Looks at each reactor once. The watchdog's thread; tests, whose own interval never ends.</summary>
    /// <param name="now">A stopwatch timestamp.</param>
    internal void LookAtAll(long now)
    {
        // A machine that was paused, or so busy that this thread did not run either, says nothing about a reactor: only as much as was to pass between two looks counts.
        var missed = Math.Max(0, now - _lastLook - (2 * (long)(_interval.TotalSeconds * Stopwatch.Frequency)));
        _lastLook = now;
        for (var i = 0; i < _reactors.Count; i++)
        {
            _seen[i].Since += missed;
            Look(_reactors[i], ref _seen[i], now);
        }
    }

    private void Look(Reactor reactor, ref (long Turn, long Since, bool IsReported) seen, long now)
    {
        var (turn, isAsleep) = reactor.GetProgress();
        var state = reactor.Health.State;
        if (state is ReactorHealthState.Stopped or ReactorHealthState.Failed)
        {
            return;
        }

        if (turn != seen.Turn || isAsleep)
        {
            if (seen.IsReported)
            {
                reactor.Health = ReactorHealth.Healthy;
                _logger.LogWarning(HostEvents.ReactorTurnsAgain, "reactor {Reactor} (CPU {Cpu}) turns again after {Seconds:0.0} s", reactor.Id, reactor.CpuIndex, Stopwatch.GetElapsedTime(seen.Since, now).TotalSeconds);
            }

            seen = (turn, now, false);
            return;
        }

        var stuckFor = Stopwatch.GetElapsedTime(seen.Since, now);
        if (stuckFor < reactor.StuckAfter)
        {
            return;
        }

        var culprit = reactor.Describe();
        reactor.Health = new ReactorHealth(ReactorHealthState.Stuck, culprit, stuckFor);
        if (!seen.IsReported)
        {
            seen.IsReported = true;
            _logger.LogError(
                HostEvents.ReactorStuck,
                "reactor {Reactor} (CPU {Cpu}) has not returned from {Culprit} for {Seconds:0.0} s, and everything else on that reactor waits. The plugin behind it blocks or loops: "
                    + "move it to a reactor of its own (cpumask), or restart vhostd without it, and report it to its author",
                reactor.Id,
                reactor.CpuIndex,
                culprit,
                stuckFor.TotalSeconds);
        }

        if (_onGivenUp is not null && !_hasGivenUp && stuckFor >= _giveUpAfter && !Debugger.IsAttached)
        {
            _hasGivenUp = true;
            _onGivenUp($"reactor {reactor.Id} (CPU {reactor.CpuIndex}) has not returned from {culprit} for {stuckFor.TotalSeconds:0} s");
        }
    }
}
