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
        _seen = new (long, long, bool)[reactors.Count];
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
            for (var i = 0; i < _reactors.Count; i++)
            {
                Look(_reactors[i], ref _seen[i]);
            }
        }
    }

    private void Look(Reactor reactor, ref (long Turn, long Since, bool IsReported) seen)
    {
        var (turn, isAsleep) = reactor.GetProgress();
        var now = Stopwatch.GetTimestamp();
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
