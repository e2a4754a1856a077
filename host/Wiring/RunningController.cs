using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Host.Bdevs;
using Vhost.Host.Manifest;
using Vhost.Host.Observability;

namespace Vhost.Host.Wiring;

/// <summary>A controller: a device behind a transport, from its creation to its removal.</summary>
internal sealed class RunningController
{
    private readonly HostTimes _times;
    private readonly ILogger _logger;
    private IVirtioDevice? _device;
    private ITransport? _transport;

    private RunningController(BoundController bound, BoundTransport boundTransport, HostTimes times, ILogger logger)
    {
        Bound = bound;
        BoundTransport = boundTransport;
        _times = times;
        _logger = logger;
        Recorder = new FlightRecorder(bound.Name, logger);
    }

    /// <summary>What it is now: its targets may have changed since it was made.</summary>
    internal BoundController Bound { get; private set; }

    internal BoundTransport BoundTransport { get; }

    /// <summary>What the controller does with bdevs, counted.</summary>
    internal ChannelGroup Channels { get; } = new();

    /// <summary>What its transport and device had to say lately.</summary>
    internal FlightRecorder Recorder { get; }

    private string DeviceText => $"controller '{Bound.Name}' ({Bound.TypeName})";

    private string TransportText => $"transport '{BoundTransport.Name}' ({BoundTransport.TypeName}, {BoundTransport.Endpoint})";

    /// <summary>Creates the device, then the transport, and lets front-ends in; undoes it where it fails.</summary>
    /// <exception cref="HostStartException">It failed; nothing of it is left.</exception>
    internal static async Task<RunningController> StartAsync(HostParts parts, BoundController bound, BoundTransport transport, CancellationToken cancellationToken)
    {
        var running = new RunningController(bound, transport, parts.Times, parts.Loggers.CreateLogger("vhostd.wiring"));
        var what = running.DeviceText;
        try
        {
            var reactors = parts.SelectReactors(bound.CpuIndexes);
            await BoundedCall.RunAsync(
                $"{what}: create",
                parts.Times.Start,
                parts.Times.Grace,
                _ =>
                {
                    var context = new DeviceContext
                    {
                        Name = bound.Name,
                        Reactors = reactors,
                        GetBdev = name => new OwnedPort(parts.Bdevs.GetPort(name), running.Channels),
                        Logger = running.Recorder.Wrap(parts.Loggers.CreateLogger($"vhostd.controller.{bound.Name}")),
                    };
                    running._device = bound.Factory.Create(context, bound.Options) ?? throw new InvalidOperationException("its factory returned nothing");
                    return ValueTask.CompletedTask;
                },
                cancellationToken).ConfigureAwait(false);
            what = running.TransportText;
            await BoundedCall.RunAsync(
                $"{what}: start",
                parts.Times.Start,
                parts.Times.Grace,
                async token =>
                {
                    var context = new TransportContext
                    {
                        Name = transport.Name,
                        Memory = parts.Memory,
                        Logger = running.Recorder.Wrap(parts.Loggers.CreateLogger($"vhostd.transport.{transport.Name}")),
                        DrainTimeout = parts.Times.Drain,
                    };
                    running._transport = transport.Factory.Create(context, transport.Options) ?? throw new InvalidOperationException("its factory returned nothing");
                    await running._transport.StartAsync(running._device!, token).ConfigureAwait(false);
                },
                cancellationToken).ConfigureAwait(false);
            if (bound.Coalescing != BoundCoalescing.None)
            {
                running.SetCoalescing(bound);
            }

            return running;
        }
        catch (Exception exception)
        {
            await running.DisposePartsAsync().ConfigureAwait(false);
            // Giving up is not a failure of the part.
            cancellationToken.ThrowIfCancellationRequested();
            throw new HostStartException($"{what} failed to start: {exception.Message}", exception);
        }
    }

    /// <summary>Ends the session and disposes transport and device. Bounded; never throws.</summary>
    internal async Task StopAsync()
    {
        if (_transport is { } transport)
        {
            await BoundedCall.TryAsync(_logger, $"{TransportText}: stop", _times.TransportStop, _times.Grace, transport.StopAsync).ConfigureAwait(false);
        }

        await DisposePartsAsync().ConfigureAwait(false);
    }

    /// <summary>Adds a target to the running device.</summary>
    /// <param name="changed">The controller as it is with the target.</param>
    /// <param name="targetNumber">The target.</param>
    /// <param name="bdev">Its bdev.</param>
    /// <exception cref="InvalidOperationException">The device has no targets that change, or refuses; the message says why.</exception>
    internal async Task AddTargetAsync(BoundController changed, int targetNumber, BdevPort bdev)
    {
        var device = GetTargetDevice();
        try
        {
            await BoundedCall.RunAsync(
                $"{DeviceText}: add target {targetNumber}",
                _times.Drain,
                _times.Grace,
                _ =>
                {
                    device.AddTarget(targetNumber, new OwnedPort(bdev, Channels));
                    return ValueTask.CompletedTask;
                }).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is not InvalidOperationException)
        {
            throw new InvalidOperationException($"{DeviceText} does not take target {targetNumber}: {exception.Message}", exception);
        }

        Bound = changed;
    }

    /// <summary>Removes a target of the running device; waits for its requests, within bounds.</summary>
    /// <param name="changed">The controller as it is without the target.</param>
    /// <param name="targetNumber">The target.</param>
    /// <exception cref="TimeoutException">Requests of the target do not return. The guest sees it no more, and its number stays in use until they do.</exception>
    internal async Task RemoveTargetAsync(BoundController changed, int targetNumber)
    {
        var device = GetTargetDevice();
        Bound = changed;
        try
        {
            await BoundedCall.RunAsync(
                $"{DeviceText}: remove target {targetNumber}",
                _times.Drain,
                _times.Grace,
                async token => await device.RemoveTargetAsync(targetNumber, token).ConfigureAwait(false)).ConfigureAwait(false);
        }
        catch (OperationCanceledException exception)
        {
            throw new TimeoutException($"{DeviceText}: requests of target {targetNumber} did not end within {_times.Drain.TotalSeconds:0.#} s; the guest sees it no more, its bdev hangs", exception);
        }
    }

    /// <summary>Sets how interrupts are coalesced.</summary>
    /// <param name="changed">The controller as it is to be.</param>
    internal void SetCoalescing(BoundController changed)
    {
        GetLiveDevice().SetCoalescing(changed.Coalescing.DelayBase, changed.Coalescing.IopsThreshold);
        Bound = changed;
    }

    /// <summary>Lets the queues run on other reactors. Bounded.</summary>
    /// <param name="changed">The controller as it is to be.</param>
    /// <param name="reactors">Its reactors.</param>
    /// <exception cref="TimeoutException">Requests under way do not end: some queues stay where they are.</exception>
    internal async Task MoveAsync(BoundController changed, IReadOnlyList<IReactor> reactors)
    {
        var device = GetLiveDevice();
        await BoundedCall.RunAsync($"{DeviceText}: move", _times.Drain, _times.Drain + _times.Grace, token => device.MoveAsync(reactors, token)).ConfigureAwait(false);
        Bound = changed;
    }

    internal ControllerStatus GetStatus()
    {
        string state;
        try
        {
            state = _transport?.Status ?? "stopped";
        }
        catch (Exception exception)
        {
            state = $"unknown: {exception.Message}";
        }

        return new ControllerStatus(Bound.Name, Bound.TypeName, BoundTransport.Name, BoundTransport.TypeName, BoundTransport.Endpoint, state, Bound.BdevReferences)
        {
            CpuIndexes = Bound.CpuIndexes,
            Statistics = Channels.GetStatistics(),
            Latencies = Channels.GetHistogram(),
            Coalescing = Bound.Coalescing,
            Session = GetSession(),
        };
    }

    private SessionStatus? GetSession()
    {
        try
        {
            return (_device as ILiveDevice)?.GetSession();
        }
        catch (Exception exception)
        {
            _logger.LogError(HostEvents.SessionNotRead, exception, "{Device}: its session cannot be looked at", DeviceText);
            return null;
        }
    }

    private ILiveDevice GetLiveDevice() =>
        _device as ILiveDevice ?? throw new InvalidOperationException($"{DeviceText} cannot be changed while it runs: delete it and create it anew");

    private ITargetDevice GetTargetDevice() =>
        _device as ITargetDevice ?? throw new InvalidOperationException($"{DeviceText} has no targets that can be added or removed");

    private async Task DisposePartsAsync()
    {
        if (Interlocked.Exchange(ref _transport, null) is { } transport)
        {
            await BoundedCall.TryAsync(_logger, $"{TransportText}: dispose", _times.Dispose, _times.Grace, _ => transport.DisposeAsync()).ConfigureAwait(false);
        }

        if (Interlocked.Exchange(ref _device, null) is { } device)
        {
            await BoundedCall.TryAsync(_logger, $"{DeviceText}: dispose", _times.Dispose, _times.Grace, _ => device.DisposeAsync()).ConfigureAwait(false);
        }
    }
}
