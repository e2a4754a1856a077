using Microsoft.Extensions.Logging;
using Vhost.Host.Cli;
using Vhost.Host.Manifest;

namespace Vhost.Host.Wiring;

/// <summary>Serves one manifest for the life of a process.</summary>
/// <param name="manifest">What to serve.</param>
/// <param name="loggers">Makes loggers.</param>
public sealed class ManifestServer(BoundManifest manifest, ILoggerFactory loggers) : IManifestServer
{
    /// <summary>The running graph.</summary>
    public VhostHost Host { get; } = new(loggers);

    /// <inheritdoc/>
    public Task StartAsync(CancellationToken cancellationToken) => Host.StartAsync(manifest, cancellationToken);

    /// <inheritdoc/>
    public Task StopAsync(CancellationToken cancellationToken) => Host.StopAsync().WaitAsync(cancellationToken);

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => Host.DisposeAsync();
}
