namespace Vhost.Abstractions;

/// <summary>
/// One connection of a front-end to a device: its negotiated features, its memory and its running virtqueues. The transport calls it from one
/// control thread at a time, in an order that makes sense: features and memory before queues. Disposing stops all queues, waits no
/// longer than <see cref="StopQueueAsync"/> would, and is idempotent.
/// </summary>
public interface IVirtioSession : IAsyncDisposable
{
    /// <summary>The features that the driver accepted, a subset of those offered. No queue runs.</summary>
    /// <param name="features">Feature bits.</param>
    void SetFeatures(ulong features);

    /// <summary>
    /// Replaces the guest's memory. Running queues go on with the new map at once and their rings at the new addresses; the result completes
    /// when no request uses the former map any more, and only then may the transport unmap what is not in the new one.
    /// </summary>
    /// <param name="memory">The new map.</param>
    /// <param name="rings">New ring addresses of every running queue, by queue index; a running queue that is missing is broken off.</param>
    /// <param name="cancellationToken">Bounds the wait.</param>
    /// <returns>How many requests still use the former map; 0 unless cancelled. If not 0, the former map stays mapped.</returns>
    ValueTask<int> SetMemoryAsync(GuestMemoryMap memory, IReadOnlyDictionary<int, VirtqueueAddresses> rings, CancellationToken cancellationToken);

    /// <summary>Starts a queue on its reactor. Returns when it is being polled.</summary>
    /// <param name="setup">The ring; its addresses lie within the memory map.</param>
    /// <param name="cancellationToken">Bounds the wait.</param>
    /// <exception cref="ArgumentException">The device has no such queue, or the set-up is impossible; the message says what.</exception>
    ValueTask StartQueueAsync(VirtqueueSetup setup, CancellationToken cancellationToken);

    /// <summary>
    /// Stops a queue: no new requests are taken, those under way are completed into the ring. When the token is cancelled first, the queue is
    /// given up: what completes later is dropped and touches no ring. A queue that does not run gives its last state.
    /// </summary>
    /// <param name="queueIndex">The queue.</param>
    /// <param name="cancellationToken">Bounds the wait.</param>
    ValueTask<VirtqueueStop> StopQueueAsync(int queueIndex, CancellationToken cancellationToken);

    /// <summary>The driver reset the device (section 2.4): state that negotiation and configuration left behind is forgotten. No queue runs.</summary>
    void ResetDevice();
}
