namespace Vhost.Abstractions;

/// <summary>
/// One entry of the manifest's <c>bdevs</c>: publishes bdevs through its <see cref="BdevSourceContext.Publisher"/>, now or later.
/// Control threads only. Disposing is idempotent, works without a start, and releases everything; the host has withdrawn the bdevs before.
/// </summary>
public interface IBdevSource : IAsyncDisposable
{
    /// <summary>
    /// Opens files or devices and publishes what is there. Returns when the source is up; what appears later is published later.
    /// An exception stops the start of the host and is shown to the user: it says what failed and what to do.
    /// </summary>
    /// <param name="cancellationToken">Cancelled when the host gives up.</param>
    ValueTask StartAsync(CancellationToken cancellationToken);
}
