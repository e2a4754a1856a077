namespace Vhost.Host.Cli;

/// <summary>Serves a bound manifest. Disposing is idempotent, works without a start, and leaves nothing behind.</summary>
public interface IManifestServer : IAsyncDisposable
{
    /// <summary>Starts bdevs, then devices, then transports. Returns when guests may connect; an exception says what failed and what to do.</summary>
    /// <param name="cancellationToken">Cancelled when the user gives up.</param>
    Task StartAsync(CancellationToken cancellationToken);

    /// <summary>What is to be told on standard output before the ready line.</summary>
    IReadOnlyList<string> Notices => [];

    /// <summary>Stops in reverse order.</summary>
    /// <param name="cancellationToken">Bounds the wait: what is not stopped by then is abandoned.</param>
    Task StopAsync(CancellationToken cancellationToken);
}
