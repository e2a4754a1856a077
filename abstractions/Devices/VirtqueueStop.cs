namespace Vhost.Abstractions;

/// <summary>How a queue stopped.</summary>
/// <param name="State">Where it stands; a queue that is started again continues from here.</param>
/// <param name="AbandonedRequestCount">Requests that were still under way when the wait was given up. If not 0, the memory map stays mapped.</param>
public readonly record struct VirtqueueStop(VirtqueueState State, int AbandonedRequestCount);
