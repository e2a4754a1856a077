namespace Vhost.Abstractions;

/// <summary>A session at one moment.</summary>
/// <param name="Id">Counts a device's sessions from 0.</param>
/// <param name="MaxQueueCount">The greatest number of queues.</param>
/// <param name="Queues">The queues that run.</param>
public sealed record SessionStatus(int Id, int MaxQueueCount, IReadOnlyList<QueueStatus> Queues);

/// <summary>A running queue at one moment. Its counts begin with its start.</summary>
/// <param name="Index">The queue.</param>
/// <param name="Size">Number of entries.</param>
/// <param name="ReactorId">The reactor that it runs on.</param>
/// <param name="UnderWayCount">Requests under way.</param>
/// <param name="RequestCount">Requests taken.</param>
/// <param name="CallCount">Interrupts sent.</param>
/// <param name="DelayedCallCount">Interrupts that waited for more completions.</param>
public readonly record struct QueueStatus(int Index, int Size, int ReactorId, int UnderWayCount, long RequestCount, long CallCount, long DelayedCallCount);
