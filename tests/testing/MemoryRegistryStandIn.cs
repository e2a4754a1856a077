using Vhost.Abstractions;

namespace Vhost.Testing;

/// <summary>A memory registry as the host's: new observers are told of what is there, those that end are not told of removals.</summary>
public sealed class MemoryRegistryStandIn : IMemoryRegistry
{
    private readonly Lock _lock = new();
    private readonly List<MemoryRegion> _regions = [];
    private readonly List<IMemoryObserver> _observers = [];

    public IDisposable Register(MemoryRegion region)
    {
        lock (_lock)
        {
            _regions.Add(region);
            _observers.ForEach(observer => observer.OnRegionAdded(region));
        }

        return new Ended(() =>
        {
            lock (_lock)
            {
                _regions.Remove(region);
                _observers.ForEach(observer => observer.OnRegionRemoved(region));
            }
        });
    }

    public IDisposable Subscribe(IMemoryObserver observer)
    {
        lock (_lock)
        {
            _observers.Add(observer);
            _regions.ForEach(observer.OnRegionAdded);
        }

        return new Ended(() =>
        {
            lock (_lock)
            {
                _observers.Remove(observer);
            }
        });
    }

    private sealed class Ended(Action action) : IDisposable
    {
        public void Dispose() => action();
    }
}
