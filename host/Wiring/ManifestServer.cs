using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vhost.Host.Cli;
using Vhost.Host.Dashboard;
using Vhost.Host.Manifest;
using Vhost.Host.Observability;
using Vhost.Host.Rpc;
using Vhost.Linux;

namespace Vhost.Host.Wiring;

/// <summary>Serves one manifest for the life of a process.</summary>
/// <param name="manifest">What to serve.</param>
/// <param name="loggers">Makes loggers.</param>
/// <param name="requestStop">Ends the process in order; called by an RPC client's wish.</param>
public sealed class ManifestServer(BoundManifest manifest, ILoggerFactory loggers, Action requestStop) : IManifestServer
{
    private readonly ILogger _logger = loggers.CreateLogger("vhostd.rpc");
    private RpcServer? _rpc;
    private LiveGraph? _graph;
    private PosixSignalRegistration? _hangUp;
    private Observer? _observer;
    private DashboardServer? _dashboard;

    /// <summary>The running graph.</summary>
    public VhostHost Host { get; } = new(loggers);

    /// <inheritdoc/>
    public IReadOnlyList<string> Notices { get; private set; } = [];

    /// <inheritdoc/>
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        FilterSystemCalls();
        Host.GaveUp += () =>
        {
            Environment.ExitCode = ExitCode.Failure;
            requestStop();
        };
        EventLog? events = null;
        if (manifest.Observe.Dashboard is not null)
        {
            events = new EventLog();
            loggers.AddProvider(events);
        }

        await Host.StartAsync(manifest, cancellationToken).ConfigureAwait(false);
        _graph = new LiveGraph(Host, manifest);
        _hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, context =>
        {
            context.Cancel = true;
            _ = Task.Run(ReloadAsync);
        });
        var surface = new RpcSurface(new RpcContext(Host, _graph, _ => requestStop()));
        try
        {
            _observer = await Observer.StartAsync(Host, manifest.Observe, loggers).ConfigureAwait(false);
            if (events is not null)
            {
                StartDashboard(surface, events);
            }

            StartRpc(surface);
        }
        catch (IOException)
        {
            await Host.StopAsync().ConfigureAwait(false);
            await StopObservingAsync().ConfigureAwait(false);
            throw;
        }

        _observer.NotifyReady();
    }

    /// <inheritdoc/>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        _hangUp?.Dispose();
        _observer?.NotifyStopping();
        if (_rpc is { } rpc)
        {
            await rpc.DisposeAsync().ConfigureAwait(false);
        }

        await Host.StopAsync().WaitAsync(cancellationToken).ConfigureAwait(false);
        await StopObservingAsync().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_rpc is { } rpc)
        {
            await rpc.DisposeAsync().ConfigureAwait(false);
        }

        await Host.DisposeAsync().ConfigureAwait(false);
        await StopObservingAsync().ConfigureAwait(false);
    }

    /// <summary>Reads the manifest again and makes the running state match it; what is done, and what fails, is logged.</summary>
    private async Task ReloadAsync()
    {
        try
        {
            var result = await _graph!.ReloadAsync().ConfigureAwait(false);
            foreach (var step in result.Done)
            {
                _logger.LogInformation(HostEvents.ManifestStep, "manifest read again: {Step}", step);
            }

            foreach (var restart in result.Restart)
            {
                _logger.LogWarning(HostEvents.ManifestNeedsRestart, "manifest read again: needs a restart: {Section}", restart);
            }

            _logger.LogInformation(HostEvents.ManifestApplied, "the running state matches the manifest, after {Count} steps", result.Done.Count);
        }
        catch (RpcException exception)
        {
            _logger.LogError(HostEvents.ManifestNotApplied, "the manifest was read again and not applied: {Reason}", exception.Detail ?? exception.Message);
        }
        catch (Exception exception)
        {
            _logger.LogError(HostEvents.ManifestNotApplied, exception, "the manifest was read again and not applied");
        }
    }

    private async Task StopObservingAsync()
    {
        if (Interlocked.Exchange(ref _dashboard, null) is { } dashboard)
        {
            await dashboard.DisposeAsync().ConfigureAwait(false);
        }

        if (Interlocked.Exchange(ref _observer, null) is { } observer)
        {
            await observer.DisposeAsync().ConfigureAwait(false);
        }
    }

    private void StartRpc(RpcSurface surface)
    {
        if (manifest.Rpc.SocketPath is not { } path)
        {
            return;
        }

        _rpc = new RpcServer(path, surface, new RpcLimits(), loggers.CreateLogger("vhostd.rpc"));
        _rpc.Start();
    }

    private void StartDashboard(RpcSurface surface, EventLog events)
    {
        var token = DashboardToken.Get(manifest.Observe.TokenFile);
        _dashboard = new DashboardServer(manifest.Observe, token.Value, Host, surface, events, loggers.CreateLogger("vhostd.dashboard"));
        Notices = [token.IsFromFile
            ? $"dashboard: http://{manifest.Observe.Dashboard}/ (token in {manifest.Observe.TokenFile})"
            : $"dashboard: http://{manifest.Observe.Dashboard}/#token={token.Value}"];
    }

    private void FilterSystemCalls()
    {
        if (!manifest.FiltersSystemCalls)
        {
            return;
        }

        try
        {
            SystemCallFilter.Apply();
        }
        catch (Exception exception) when (exception is LinuxException or PlatformNotSupportedException)
        {
            loggers.CreateLogger("vhostd").LogWarning(
                HostEvents.SystemCallsNotFiltered,
                "system calls are not filtered: {Reason}; \"security\": {{ \"systemCallFilter\": false }} ends this warning", exception.Message);
        }
    }
}
