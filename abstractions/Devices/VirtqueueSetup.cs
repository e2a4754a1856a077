namespace Vhost.Abstractions;

/// <summary>All that a device needs to run one virtqueue.</summary>
public sealed record VirtqueueSetup
{
    /// <summary>The queue's index.</summary>
    public required int QueueIndex { get; init; }

    /// <summary>Number of entries: a power of two for split queues, up to 32768.</summary>
    public required int Size { get; init; }

    /// <summary>Split or packed.</summary>
    public required VirtqueueFormat Format { get; init; }

    /// <summary>Where the ring lies.</summary>
    public required VirtqueueAddresses Addresses { get; init; }

    /// <summary>Where to continue.</summary>
    public required VirtqueueState State { get; init; }

    /// <summary>An eventfd that the driver signals, or -1: then the queue is polled with back-off. Stays open until the queue is stopped.</summary>
    public required int KickFileDescriptor { get; init; }

    /// <summary>Interrupts the driver.</summary>
    public required ICallNotifier Call { get; init; }

    /// <summary>The queue's part of the in-flight area (vhost-user, "Inflight I/O tracking"), or none.</summary>
    public SharedArea InFlight { get; init; }

    /// <summary>The dirty log (vhost-user, "Migration"): one bit per 4096 bytes of guest memory, or none.</summary>
    public SharedArea DirtyLog { get; init; }
}
