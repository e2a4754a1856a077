using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Vhost.Host.Bdevs;
using Vhost.Host.Manifest;
using Vhost.Host.Observability;
using Vhost.Host.Reactors;
using Vhost.Linux;

namespace Vhost.Host.Wiring;

/// <summary>
/// The running graph: reactors, bdev sources, controllers. A start adds the parts one by one with the same methods that change it live.
/// Control threads only; changes take turns.
/// </summary>
public sealed partial class VhostHost : IAsyncDisposable
{
    private readonly ILoggerFactory _loggers;
    private readonly ILogger _logger;
    private readonly HostTimes _times;
    private readonly SemaphoreSlim _turn = new(1);
    private readonly List<RunningBdevSource> _sources = [];
    private readonly System.Collections.Concurrent.ConcurrentDictionary<RunningBdevSource, Task> _stopping = new();
    private readonly List<HeldStorage> _held = [];
    private readonly List<RunningController> _controllers = [];
    private readonly Lock _listLock = new();
    private IReadOnlyList<Reactor> _reactors = [];
    private HostParts? _parts;
    private ReactorWatchdog? _watchdog;
    private volatile HostState _state = HostState.Created;

    /// <summary>Makes a host; <see cref="StartAsync"/> starts it.</summary>
    /// <param name="loggers">Makes loggers.</param>
    /// <param name="times">Time bounds, or null for the defaults.</param>
    public VhostHost(ILoggerFactory loggers, HostTimes? times = null)
    {
        _loggers = loggers;
        _times = times ?? new HostTimes();
        _logger = loggers.CreateLogger("vhostd");
    }

    /// <summary>
    /// A reactor is stuck for good: the process has to end, so that another one serves the guests. Raised once, on the watchdog's thread.
    /// </summary>
    public event Action? GaveUp;

    /// <summary>Where the host stands.</summary>
    public HostState State => _state;

    /// <summary>Starts reactors, bdev sources (what others build on first), devices and transports.</summary>
    /// <param name="manifest">What to start.</param>
    /// <param name="cancellationToken">Gives up; what was started is undone.</param>
    /// <exception cref="HostStartException">A part failed; the message names it. What was started is stopped again.</exception>
    public async Task StartAsync(BoundManifest manifest, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(manifest);
        if (_state != HostState.Created)
        {
            throw new InvalidOperationException($"the host is {_state} and cannot be started");
        }

        _state = HostState.Starting;
        if (!MemoryFaultGuard.TryInstall(out var problem))
        {
            _logger.LogWarning(HostEvents.MemoryFaultsNotHandled, "a guest that shrinks its memory file will end this process: SIGBUS cannot be handled: {Problem}", problem);
        }

        var start = Stopwatch.GetTimestamp();
        try
        {
            await StartReactorsAsync(manifest.Reactors).ConfigureAwait(false);
            foreach (var (name, settings) in manifest.BdevSettings)
            {
                SetQos(name, settings.Qos);
                SetWriteProtection(name, settings.IsReadOnly);
            }

            foreach (var level in SourceOrder.GetLevels(manifest.Bdevs))
            {
                await AllOrFirstFailureAsync(level.Select(source => AddBdevSourceAsync(source, cancellationToken))).ConfigureAwait(false);
            }

            foreach (var controller in manifest.Controllers)
            {
                var transport = manifest.Transports.Single(transport => transport.Name == controller.TransportName);
                await AddControllerAsync(controller, transport, cancellationToken).ConfigureAwait(false);
            }
        }
        catch (Exception exception)
        {
            _logger.LogError(HostEvents.StartUndone, "the start failed and is undone: {Reason}", exception.Message);
            await StopAsync().ConfigureAwait(false);
            throw;
        }

        _state = HostState.Running;
        _logger.LogInformation(
            HostEvents.Serving,
            "serving {Controllers} controllers and {Bdevs} bdev sources on {Reactors} reactors after {Milliseconds:0} ms",
            _controllers.Count,
            _sources.Count,
            _reactors.Count,
            Stopwatch.GetElapsedTime(start).TotalMilliseconds);
    }

    /// <summary>Stops everything in reverse, within <see cref="HostTimes.Stop"/> whatever the parts do. Idempotent; never throws.</summary>
    public async Task StopAsync()
    {
        if (_state is HostState.Stopped)
        {
            return;
        }

        if (_state is HostState.Created)
        {
            _state = HostState.Stopped;
            return;
        }

        _state = HostState.Stopping;
        var start = Stopwatch.GetTimestamp();
        var hasTurn = await _turn.WaitAsync(_times.Dispose).ConfigureAwait(false);
        try
        {
            if (_state == HostState.Stopped)
            {
                return;
            }

            var work = StopPartsAsync();
            if (!ReferenceEquals(await Task.WhenAny(work, Task.Delay(_times.Stop)).ConfigureAwait(false), work))
            {
                foreach (var source in _stopping.Where(entry => !entry.Value.IsCompleted).Select(entry => entry.Key))
                {
                    _logger.LogError(HostEvents.PartLeftBehind, "{Source}: dispose has not ended, or what builds on it has not, and it is left behind", source.Describe());
                }

                _logger.LogError(HostEvents.StopCutShort, "the stop was cut short after {Seconds:0.0} s; the parts named above hang", _times.Stop.TotalSeconds);
            }

            _watchdog?.Dispose();
            _state = HostState.Stopped;
            _logger.LogInformation(HostEvents.HostStopped, "stopped after {Milliseconds:0} ms", Stopwatch.GetElapsedTime(start).TotalMilliseconds);
        }
        finally
        {
            if (hasTurn)
            {
                _turn.Release();
            }
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync() => await StopAsync().ConfigureAwait(false);

    /// <summary>Adds and starts a bdev source. Controllers that wait for its bdevs attach them.</summary>
    /// <param name="source">The source, bound and checked.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="HostStartException">It failed, or the name is taken.</exception>
    public async Task AddBdevSourceAsync(BoundBdevSource source, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(source);
        var parts = GetParts();
        lock (_listLock)
        {
            if (_sources.Any(running => running.Bound.Name == source.Name))
            {
                throw new HostStartException($"there is a bdev source '{source.Name}' already");
            }

            if (FindHeld(held => held.IsWantedBy(source)) is { } inTheWay)
            {
                throw new HostStartException($"bdev source '{source.Name}' cannot be started: '{inTheWay.Name}' was removed, and {inTheWay.Describe()}");
            }
        }

        var running = await RunningBdevSource.StartAsync(parts, source, cancellationToken).ConfigureAwait(false);
        bool isKept;
        lock (_listLock)
        {
            // A stop that began meanwhile has taken its list already; of two of the same name the first stays.
            isKept = _state is HostState.Starting or HostState.Running && !_sources.Any(other => other.Bound.Name == source.Name);
            if (isKept)
            {
                _sources.Add(running);
            }
        }

        if (!isKept)
        {
            await running.StopAsync().ConfigureAwait(false);
            throw new HostStartException($"bdev source '{source.Name}' is not kept: the host is stopping, or another one has taken its name");
        }
    }

    /// <summary>What a source that was removed still holds, because writes hang in its bdevs; null where it holds nothing.</summary>
    /// <param name="name">The source's name.</param>
    public string? DescribeHeld(string name)
    {
        lock (_listLock)
        {
            return FindHeld(held => held.Name == name)?.Describe();
        }
    }

    // Under the lock.
    private HeldStorage? FindHeld(Predicate<HeldStorage> isWanted)
    {
        _held.RemoveAll(static held => held.IsReleased);
        return _held.Find(isWanted);
    }

    /// <summary>Withdraws a source's bdevs from whoever uses them and removes it. Bounded in time.</summary>
    /// <param name="name">The source's name.</param>
    /// <returns>False if there is none.</returns>
    /// <exception cref="InvalidOperationException">Another source builds on it; the message says which.</exception>
    public async Task<bool> RemoveBdevSourceAsync(string name)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            RunningBdevSource? running;
            lock (_listLock)
            {
                running = _sources.Find(source => source.Bound.Name == name);
                if (running is null)
                {
                    return false;
                }

                var user = _sources.Find(other => SourceOrder.BuildsOn(other.Bound, running.Bound));
                if (user is not null)
                {
                    throw new InvalidOperationException($"bdev source '{user.Bound.Name}' builds on '{name}'; remove it first");
                }

                _sources.Remove(running);
            }

            if (await running.StopAsync().ConfigureAwait(false) is { } held)
            {
                lock (_listLock)
                {
                    _held.Add(held);
                }
            }

            return true;
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Adds a controller with its transport and lets front-ends in.</summary>
    /// <param name="controller">The controller, bound and checked.</param>
    /// <param name="transport">Its transport, bound and checked.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="HostStartException">It failed, or a name or the endpoint is taken.</exception>
    public async Task AddControllerAsync(BoundController controller, BoundTransport transport, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(controller);
        ArgumentNullException.ThrowIfNull(transport);
        var parts = GetParts();
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            lock (_listLock)
            {
                foreach (var other in _controllers)
                {
                    if (other.Bound.Name == controller.Name)
                    {
                        throw new HostStartException($"there is a controller '{controller.Name}' already");
                    }

                    if (other.BoundTransport.Name == transport.Name || other.BoundTransport.Endpoint == transport.Endpoint)
                    {
                        throw new HostStartException($"controller '{other.Bound.Name}' uses transport '{other.BoundTransport.Name}' at {other.BoundTransport.Endpoint} already");
                    }
                }
            }

            var running = await RunningController.StartAsync(parts, controller, transport, cancellationToken).ConfigureAwait(false);
            bool isKept;
            lock (_listLock)
            {
                isKept = _state is HostState.Starting or HostState.Running;
                if (isKept)
                {
                    _controllers.Add(running);
                }
            }

            if (!isKept)
            {
                await running.StopAsync().ConfigureAwait(false);
                throw new HostStartException($"controller '{controller.Name}' is not kept: the host is stopping");
            }
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Ends a controller's session and removes it and its transport. Bounded in time.</summary>
    /// <param name="name">The controller's name.</param>
    /// <returns>False if there is none.</returns>
    public async Task<bool> RemoveControllerAsync(string name)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            RunningController? running;
            lock (_listLock)
            {
                running = _controllers.Find(controller => controller.Bound.Name == name);
                if (running is null)
                {
                    return false;
                }

                _controllers.Remove(running);
            }

            await running.StopAsync().ConfigureAwait(false);
            return true;
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Adds a target to a running controller.</summary>
    /// <param name="changed">The controller as it is with the target, bound and checked.</param>
    /// <param name="targetNumber">The target.</param>
    /// <param name="bdevName">Its bdev.</param>
    /// <exception cref="InvalidOperationException">There is no such controller, or its device refuses; the message says why.</exception>
    public async Task AddTargetAsync(BoundController changed, int targetNumber, string bdevName)
    {
        ArgumentNullException.ThrowIfNull(changed);
        var parts = GetParts();
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            await GetController(changed.Name).AddTargetAsync(changed, targetNumber, parts.Bdevs.GetPort(bdevName)).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Removes a target of a running controller. Bounded in time.</summary>
    /// <param name="changed">The controller as it is without the target, bound and checked.</param>
    /// <param name="targetNumber">The target.</param>
    /// <exception cref="InvalidOperationException">There is no such controller, or its device has no targets.</exception>
    /// <exception cref="TimeoutException">Requests of the target do not end; the guest sees it no more.</exception>
    public async Task RemoveTargetAsync(BoundController changed, int targetNumber)
    {
        ArgumentNullException.ThrowIfNull(changed);
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            await GetController(changed.Name).RemoveTargetAsync(changed, targetNumber).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }

    private RunningController GetController(string name)
    {
        lock (_listLock)
        {
            return _controllers.Find(controller => controller.Bound.Name == name) ?? throw new InvalidOperationException($"there is no controller '{name}'");
        }
    }

    private static async Task AllOrFirstFailureAsync(IEnumerable<Task> tasks)
    {
        // WhenAll waits for all of them, so that nothing is still starting when the undoing begins.
        var all = Task.WhenAll(tasks);
        try
        {
            await all.ConfigureAwait(false);
        }
        catch (Exception) when (all.Exception is { InnerExceptions.Count: > 1 } several)
        {
            throw new HostStartException(string.Join("; ", several.InnerExceptions.Select(exception => exception.Message)), several);
        }
    }

    private async Task StartReactorsAsync(BoundReactors bound)
    {
        var cpus = bound.CpuIndexes.Count > 0 ? bound.CpuIndexes : [Scheduling.GetAllowedCpus()[0]];
        var logger = _loggers.CreateLogger("vhostd.reactors");
        var reactors = cpus.Select((cpu, id) => new Reactor(id, cpu, bound.Mode, logger)).ToArray();
        _reactors = reactors;
        foreach (var reactor in reactors)
        {
            try
            {
                await reactor.StartAsync().ConfigureAwait(false);
            }
            catch (LinuxException exception)
            {
                throw new HostStartException(
                    $"reactor {reactor.Id} cannot run on CPU {reactor.CpuIndex}: {exception.Message}; this process may use CPU {string.Join(", ", Scheduling.GetAllowedCpus())}",
                    exception);
            }
        }

        _watchdog = new ReactorWatchdog(reactors, logger, bound.ExitAfter, bound.WatchdogPolicy == WatchdogPolicy.Exit ? GiveUp : null);
        await WarmUp.RunAsync(reactors, logger).ConfigureAwait(false);
        _parts = new HostParts(
            _loggers,
            _times,
            reactors,
            new BdevRegistry(_loggers) { DrainLimit = _times.Drain },
            new MemoryRegistry(_loggers.CreateLogger("vhostd.memory")));
    }

    private async Task StopPartsAsync()
    {
        List<RunningController> controllers;
        List<RunningBdevSource> sources;
        lock (_listLock)
        {
            controllers = [.. _controllers];
            sources = [.. _sources];
            _controllers.Clear();
            _sources.Clear();
        }

        if (_parts is { } parts)
        {
            parts.Bdevs.DrainLimit = _times.Dispose;
        }

        // Transports with their devices all at a time, then the sources, each as soon as those that build on it have stopped: what hangs
        // holds up what is below it, and nothing else.
        await Task.WhenAll(controllers.Select(controller => controller.StopAsync())).ConfigureAwait(false);
        foreach (var level in SourceOrder.GetLevels([.. sources.Select(source => source.Bound)]).Reverse())
        {
            foreach (var source in sources.Where(source => level.Contains(source.Bound)))
            {
                var above = Task.WhenAll(_stopping.Where(entry => SourceOrder.BuildsOn(entry.Key.Bound, source.Bound)).Select(entry => entry.Value));
                _stopping.TryAdd(source, StopAfterAsync(above, source));
            }
        }

        await Task.WhenAll(_stopping.Values).ConfigureAwait(false);
        var stopped = await Task.WhenAll(_reactors.Select(reactor => reactor.StopAsync(_times.Dispose))).ConfigureAwait(false);
        for (var i = 0; i < stopped.Length; i++)
        {
            if (!stopped[i])
            {
                _logger.LogError(HostEvents.ReactorLeftBehind, "reactor {Reactor} does not return from {Culprit} and is left behind", _reactors[i].Id, _reactors[i].Describe());
            }
        }
    }

    private static async Task StopAfterAsync(Task above, RunningBdevSource source)
    {
        await above.ConfigureAwait(false);
        await source.StopAsync().ConfigureAwait(false);
    }

    private void GiveUp(string reason)
    {
        _logger.LogCritical(
            HostEvents.GivenUpByWatchdog,
            "{Reason}: vhostd ends, so that it is started again and the guests go on with what they had under way (reactors.watchdog.policy: exit)", reason);
        GaveUp?.Invoke();
    }

    private HostParts GetParts() =>
        _state is HostState.Starting or HostState.Running && _parts is { } parts
            ? parts
            : throw new InvalidOperationException($"the host is {_state}; nothing can be added");
}
