namespace Vhost.Abstractions;

/// <summary>
/// Delivers one guest's virtqueues and memory to one device. Control threads only. Disposing is idempotent, works without a start, stops
/// what runs, and leaves no socket or device behind.
/// </summary>
public interface ITransport : IAsyncDisposable
{
    /// <summary>What the transport occupies: a socket path, a PCI address.</summary>
    string Endpoint { get; }

    /// <summary>Whether a front-end is connected, and what is known of it, for people: <c>listening</c>, <c>connected (pid 4711)</c>. Any thread.</summary>
    string Status { get; }

    /// <summary>Begins to serve the device. Returns when a front-end may connect; front-ends come and go after that.</summary>
    /// <param name="device">The device.</param>
    /// <param name="cancellationToken">Cancelled when the host gives up.</param>
    ValueTask StartAsync(IVirtioDevice device, CancellationToken cancellationToken);

    /// <summary>Ends the session if there is one (requests under way are completed first, as far as the token allows) and accepts no other.</summary>
    /// <param name="cancellationToken">Bounds the wait.</param>
    ValueTask StopAsync(CancellationToken cancellationToken);
}
