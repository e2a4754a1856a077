using Vhost.Abstractions;

namespace Vhost.Pci.Tests;

/// <summary>A registry as the host's behaves: new observers are told of what is there, those that end are not told of removals.</summary>
internal sealed class TestRegistry : IMemoryRegistry
{
    private readonly List<MemoryRegion> _regions = [];
    private readonly List<IMemoryObserver> _observers = [];

    public int ObserverCount => _observers.Count;

    public IDisposable Register(MemoryRegion region)
    {
        _regions.Add(region);
        _observers.ForEach(o => o.OnRegionAdded(region));
        return new Ended(() =>
        {
            _regions.Remove(region);
            _observers.ForEach(o => o.OnRegionRemoved(region));
        });
    }

    public IDisposable Subscribe(IMemoryObserver observer)
    {
        _observers.Add(observer);
        _regions.ForEach(observer.OnRegionAdded);
        return new Ended(() => _observers.Remove(observer));
    }

    private sealed class Ended(Action action) : IDisposable
    {
        public void Dispose() => action();
    }
}
