using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>What a queue needs besides its ring.</summary>
internal sealed class VirtqueueContext
{
    /// <summary>Names the queue in logs: <c>vhost.0 queue 2</c>.</summary>
    public required string Name { get; init; }

    /// <summary>The queue's reactor.</summary>
    public required IReactor Reactor { get; init; }

    /// <summary>The ring.</summary>
    public required VirtqueueSetup Setup { get; init; }

    /// <summary>The negotiated features.</summary>
    public required ulong Features { get; init; }

    /// <summary>The guest's memory at the start.</summary>
    public required GuestAddressSpace Memory { get; init; }

    /// <summary>What the device type does with the requests.</summary>
    public required IVirtqueueHandler Handler { get; init; }

    /// <summary>How interrupts are coalesced, or null for not.</summary>
    public CallCoalescing? Coalescing { get; init; }

    /// <summary>Is told, on the reactor's thread, of faults. It does not block.</summary>
    public required Action<Virtqueue, string, bool> OnFault { get; init; }
}
