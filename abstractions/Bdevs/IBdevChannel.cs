namespace Vhost.Abstractions;

/// <summary>
/// A reactor's own way into a bdev. All methods are called on that reactor's thread. <see cref="IDisposable.Dispose"/> is called when no
/// request is outstanding, or when the host gave up on those that are: completions after that are dropped, and once it has returned, neither
/// the requests nor their data are touched any more (a device that does DMA was reset, or its queue deleted, before).
/// </summary>
public interface IBdevChannel : IDisposable
{
    /// <summary>
    /// Submits a batch. Each request is completed exactly once through <see cref="IBdevCompletions"/>, with its
    /// <see cref="BlockRequest.Status"/> set: before this method returns or later, in any order, in batches of any size. The host has
    /// checked range, length, operation and write protection. Must not block; an exception means that the bdev is broken.
    /// </summary>
    /// <param name="requests">The requests; the span is valid during the call only.</param>
    void Submit(ReadOnlySpan<BlockRequestPointer> requests);

    /// <summary>
    /// Asks to end a request early. It is still completed exactly once, with <see cref="BlockStatus.Aborted"/> or as if nothing had been asked.
    /// </summary>
    /// <param name="request">A request that is under way on this channel.</param>
    void Abort(BlockRequestPointer request)
    {
    }

    /// <summary>
    /// The submitter stops, and only waits for what it has submitted: what a limit holds back is not held any longer. It is done now, and what comes later under
    /// the limit pays for it. For the host's channels; a bdev's own has nothing to do unless it passes requests on.
    /// </summary>
    void ReleaseHeld()
    {
    }
}
