using Microsoft.Extensions.Logging;
using Vhost.Host.Cli;
using Vhost.Host.Manifest;
using Vhost.Host.Rpc;
using Vhost.Linux;

namespace Vhost.Host.Wiring;

/// <summary>Serves one manifest for the life of a process.</summary>
/// <param name="manifest">What to serve.</param>
/// <param name="loggers">Makes loggers.</param>
/// <param name="requestStop">Ends the process in order; called by an RPC client's wish.</param>
public sealed class ManifestServer(BoundManifest manifest, ILoggerFactory loggers, Action requestStop) : IManifestServer
{
    private RpcServer? _rpc;

    /// <summary>The running graph.</summary>
    public VhostHost Host { get; } = new(loggers);

    /// <inheritdoc/>
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        FilterSystemCalls();
        await Host.StartAsync(manifest, cancellationToken).ConfigureAwait(false);
        if (manifest.Rpc.SocketPath is not { } path)
        {
            return;
        }

        var surface = new RpcSurface(new RpcContext(Host, new LiveGraph(Host, manifest), _ => requestStop()));
        _rpc = new RpcServer(path, surface, new RpcLimits(), loggers.CreateLogger("vhostd.rpc"));
        try
        {
            _rpc.Start();
        }
        catch (IOException)
        {
            await Host.StopAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <inheritdoc/>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        if (_rpc is { } rpc)
        {
            await rpc.DisposeAsync().ConfigureAwait(false);
        }

        await Host.StopAsync().WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_rpc is { } rpc)
        {
            await rpc.DisposeAsync().ConfigureAwait(false);
        }

        await Host.DisposeAsync().ConfigureAwait(false);
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
                "system calls are not filtered: {Reason}; \"security\": {{ \"systemCallFilter\": false }} ends this warning", exception.Message);
        }
    }
}
