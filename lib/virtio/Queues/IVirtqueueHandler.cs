namespace Vhost.Virtio;

/// <summary>
/// What a device type does with the requests of one queue. One object a queue and start; every method but the property is called on the
/// queue's reactor.
/// </summary>
public unsafe interface IVirtqueueHandler
{
    /// <summary>Size of the private area of each request: see <see cref="VirtioRequest.PrivateOf"/>. Read once, before <see cref="Attach"/>.</summary>
    int PrivateBytes { get; }

    /// <summary>The queue starts. Must not block; opens channels, for instance. An exception makes the start fail.</summary>
    /// <param name="queue">The queue, with its features, reactor and size.</param>
    void Attach(Virtqueue queue);

    /// <summary>
    /// Takes a batch of valid requests. Each is completed exactly once by <see cref="Virtqueue.Complete"/>, from within or later. What is completed
    /// from within goes to the driver together when this method returns.
    /// </summary>
    /// <param name="requests">The requests; the span is valid during the call only.</param>
    void Handle(ReadOnlySpan<VirtioRequestPointer> requests);

    /// <summary>
    /// A request is invalid (see <see cref="VirtioRequest.Fault"/>; pieces that could not be translated have address 0). The handler writes an
    /// error where the device type says that the status is, if that place is there.
    /// </summary>
    /// <param name="request">The request. It is not to be completed: the result does that.</param>
    /// <param name="writtenBytes">How much was written.</param>
    /// <returns>Whether the driver can see the error. If not, the queue is broken: the driver would take stale memory for a success.</returns>
    bool TryFail(VirtioRequest* request, out uint writtenBytes);

    /// <summary>
    /// The queue is being stopped: no request comes any more. Requests that wait for something that may never happen are to be completed now.
    /// </summary>
    void OnStopping()
    {
    }

    /// <summary>
    /// The queue has stopped (<see cref="Virtqueue.UnderWayCount"/> is 0) or was given up, or its start failed (in <see cref="Attach"/>, or before
    /// it). Called once. The handler closes what it opened, and uses the queue's slots no more. Completions of requests under way that come
    /// after this are still to be passed to <see cref="Virtqueue.Complete"/> and <see cref="Virtqueue.Flush()"/>, which drop them.
    /// </summary>
    void Detach();
}
