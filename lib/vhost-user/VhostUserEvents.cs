using Microsoft.Extensions.Logging;

namespace Vhost.VhostUser;

/// <summary>What this assembly logs, 1200 to 1299. An id keeps its meaning for ever: one that is not used any more is not given to another event.</summary>
internal static class VhostUserEvents
{
    internal static readonly EventId QueueStoppedByMemory = new(1200, nameof(QueueStoppedByMemory));
    internal static readonly EventId MemoryRetained = new(1201, nameof(MemoryRetained));
    internal static readonly EventId ConfigurationReadRefused = new(1202, nameof(ConfigurationReadRefused));
    internal static readonly EventId ConfigurationWriteRefused = new(1203, nameof(ConfigurationWriteRefused));
    internal static readonly EventId QueueRuns = new(1204, nameof(QueueRuns));
    internal static readonly EventId QueuesNotStopped = new(1205, nameof(QueuesNotStopped));
    internal static readonly EventId QueueGivenUp = new(1206, nameof(QueueGivenUp));
    internal static readonly EventId QueueStopFailed = new(1207, nameof(QueueStopFailed));
    internal static readonly EventId TrackingRetained = new(1208, nameof(TrackingRetained));
    internal static readonly EventId MessageReceived = new(1209, nameof(MessageReceived));
    internal static readonly EventId SessionCloseFailed = new(1210, nameof(SessionCloseFailed));
    internal static readonly EventId ChangeNotAnnounced = new(1211, nameof(ChangeNotAnnounced));
    internal static readonly EventId ChangeNotTaken = new(1212, nameof(ChangeNotTaken));
    internal static readonly EventId QueueStopped = new(1213, nameof(QueueStopped));
    internal static readonly EventId RefusalNotTold = new(1214, nameof(RefusalNotTold));
}
