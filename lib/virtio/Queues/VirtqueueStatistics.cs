namespace Vhost.Virtio;

/// <summary>Counts of one queue since its start. A snapshot that is not exact while the queue runs.</summary>
/// <param name="RequestCount">Requests taken.</param>
/// <param name="BatchCount">Batches that held them.</param>
/// <param name="CallCount">Interrupts sent.</param>
/// <param name="InvalidRequestCount">Requests that were answered with an error because their chain was invalid.</param>
/// <param name="DroppedCompletionCount">Completions that came twice, or after the queue was given up.</param>
public readonly record struct VirtqueueStatistics(
    long RequestCount,
    long BatchCount,
    long CallCount,
    long InvalidRequestCount,
    long DroppedCompletionCount);
