using Microsoft.Extensions.Logging;
using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>What a device type gives its sessions.</summary>
public sealed class VirtioSessionOptions
{
    /// <summary>Names the session's queues in logs: the controller's name.</summary>
    public required string Name { get; init; }

    /// <summary>Queue i runs on reactor i modulo their number.</summary>
    public required IReadOnlyList<IReactor> Reactors { get; init; }

    /// <summary>The front-end that is connected.</summary>
    public required IFrontEnd FrontEnd { get; init; }

    /// <summary>Takes rate-limited messages about invalid requests.</summary>
    public required ILogger Logger { get; init; }

    /// <summary>The features that the device offers.</summary>
    public required ulong OfferedFeatures { get; init; }

    /// <summary>The greatest number of queues.</summary>
    public required int MaxQueueCount { get; init; }

    /// <summary>The greatest queue size.</summary>
    public required int MaxQueueSize { get; init; }

    /// <summary>How interrupts are coalesced, or null for not.</summary>
    public CallCoalescing? Coalescing { get; init; }

    /// <summary>Counts the device's sessions.</summary>
    public int Id { get; init; }

    /// <summary>Creates the handler of a queue that is being started, by its index. Called on the control thread.</summary>
    public required Func<int, IVirtqueueHandler> CreateHandler { get; init; }

    /// <summary>Types outside of the handler's namespace that requests run through: they are compiled before the first queue starts.</summary>
    public IReadOnlyList<Type> HotTypes { get; init; } = [];

    /// <summary>The driver accepted features; called on the control thread while no queue runs.</summary>
    public Action<ulong>? OnFeatures { get; init; }

    /// <summary>The driver reset the device; called on the control thread while no queue runs.</summary>
    public Action? OnReset { get; init; }

    /// <summary>The session ended; called once, on the control thread.</summary>
    public Action? OnClosed { get; init; }
}
