namespace Vhost.Abstractions;

/// <summary>Takes completed requests of one channel, on its reactor's thread.</summary>
public interface IBdevCompletions
{
    /// <summary>
    /// The requests are done, with <see cref="BlockRequest.Status"/> set; they belong to the submitter again. May be called from
    /// within <see cref="IBdevChannel.Submit"/>. The receiver may submit further requests from within; they are then queued, not recursed into.
    /// </summary>
    /// <param name="requests">The requests; the span is valid during the call only.</param>
    void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests);
}
