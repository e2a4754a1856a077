using System.Collections.Concurrent;
using Vhost.Abstractions;

namespace Vhost.Testing;

/// <summary>A front-end that remembers what it was told.</summary>
public sealed class RecordingFrontEnd : IFrontEnd
{
    private int _configChangeCount;

    public ConcurrentQueue<(int QueueIndex, string Reason)> BrokenQueues { get; } = new();

    public int ConfigChangeCount => Volatile.Read(ref _configChangeCount);

    public void NotifyConfigChanged() => Interlocked.Increment(ref _configChangeCount);

    public void OnQueueBroken(int queueIndex, string reason) => BrokenQueues.Enqueue((queueIndex, reason));
}
