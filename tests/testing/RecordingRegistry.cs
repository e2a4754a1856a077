using System.Collections.Concurrent;
using Vhost.Abstractions;

namespace Vhost.Testing;

/// <summary>A memory registry without observers.</summary>
public sealed class RecordingRegistry : IMemoryRegistry
{
    private readonly ConcurrentDictionary<object, MemoryRegion> _regions = new();

    public int RegisteredCount => _regions.Count;

    public IEnumerable<MemoryRegion> Regions => _regions.Values;

    public int TotalCount { get; private set; }

    public IDisposable Register(MemoryRegion region)
    {
        var registration = new Registration(this);
        _ = _regions.TryAdd(registration, region);
        TotalCount++;
        return registration;
    }

    public IDisposable Subscribe(IMemoryObserver observer) => throw new NotSupportedException("nobody observes here");

    private sealed class Registration(RecordingRegistry registry) : IDisposable
    {
        public void Dispose()
        {
            if (!registry._regions.TryRemove(this, out _))
            {
                throw new InvalidOperationException("a region was withdrawn twice");
            }
        }
    }
}
