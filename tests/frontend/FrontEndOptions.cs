using Vhost.Abstractions;
using Vhost.Virtio;
using Vhost.VhostUser;

namespace Vhost.Testing.FrontEnd;

/// <summary>How a <see cref="FrontEndDevice"/> uses a back-end.</summary>
public sealed record FrontEndOptions
{
    /// <summary>Number of request queues.</summary>
    public int QueueCount { get; init; } = 1;

    /// <summary>Queues that precede the request queues: 2 for a SCSI host.</summary>
    public int FirstRequestQueue { get; init; }

    /// <summary>Entries of each queue.</summary>
    public int QueueSize { get; init; } = 256;

    /// <summary>Split or packed.</summary>
    public VirtqueueFormat Format { get; init; } = VirtqueueFormat.Split;

    /// <summary>Features to use where offered, beside VERSION_1 and the format.</summary>
    public ulong Features { get; init; } = VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors;

    /// <summary>Protocol features to use where offered.</summary>
    public ProtocolFeatures ProtocolFeatures { get; init; } =
        ProtocolFeatures.MultiQueue | ProtocolFeatures.ReplyAck | ProtocolFeatures.Config | ProtocolFeatures.ConfigureMemorySlots
        | ProtocolFeatures.BackendRequest;

    /// <summary>Descriptors of the indirect table of each entry; 0 for none.</summary>
    public int IndirectEntries { get; init; } = 4;

    /// <summary>Whether the queues have eventfds for interrupts; without, the driver polls.</summary>
    public bool HasInterrupts { get; init; } = true;

    /// <summary>Whether the queues have eventfds for kicks; without, the device polls.</summary>
    public bool HasKicks { get; init; } = true;
}
