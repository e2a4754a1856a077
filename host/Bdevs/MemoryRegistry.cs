using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Host.Observability;

namespace Vhost.Host.Bdevs;

/// <summary>The process-wide list of guest memory.</summary>
/// <param name="logger">Names observers that fail or take long.</param>
internal sealed class MemoryRegistry(ILogger logger) : IMemoryRegistry
{
    private static readonly TimeSpan SlowAfter = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private readonly List<Registration> _registrations = [];
    private readonly List<IMemoryObserver> _observers = [];

    /// <inheritdoc/>
    public IDisposable Register(MemoryRegion region)
    {
        var registration = new Registration(this, region);
        lock (_lock)
        {
            _registrations.Add(registration);
            foreach (var observer in _observers)
            {
                Call(observer, region, isAdded: true);
            }
        }

        return registration;
    }

    /// <inheritdoc/>
    public IDisposable Subscribe(IMemoryObserver observer)
    {
        ArgumentNullException.ThrowIfNull(observer);
        lock (_lock)
        {
            _observers.Add(observer);
            foreach (var registration in _registrations)
            {
                Call(observer, registration.Region, isAdded: true);
            }
        }

        return new Subscription(this, observer);
    }

    private void Remove(Registration registration)
    {
        lock (_lock)
        {
            if (!_registrations.Remove(registration))
            {
                return;
            }

            foreach (var observer in _observers)
            {
                Call(observer, registration.Region, isAdded: false);
            }
        }
    }

    private void Unsubscribe(IMemoryObserver observer)
    {
        lock (_lock)
        {
            _observers.Remove(observer);
        }
    }

    // Not bounded in time on purpose: the region may be unmapped when this returns, and a device may write to it until its observer is done.
    private void Call(IMemoryObserver observer, MemoryRegion region, bool isAdded)
    {
        var verb = isAdded ? "map" : "unmap";
        var start = Stopwatch.GetTimestamp();
        using var slow = new Timer(
            _ => logger.LogError(
                HostEvents.MemoryNotMapped,
                "{Observer} has been trying to {Verb} guest memory 0x{Address:x} + 0x{Length:x} for over {Seconds} s; its guest waits",
                observer.GetType(),
                verb,
                region.GuestAddress,
                region.LengthBytes,
                (int)Stopwatch.GetElapsedTime(start).TotalSeconds),
            null,
            SlowAfter,
            SlowAfter);
        try
        {
            if (isAdded)
            {
                observer.OnRegionAdded(region);
            }
            else
            {
                observer.OnRegionRemoved(region);
            }
        }
        catch (Exception exception)
        {
            logger.LogError(HostEvents.MemoryObserverFailed, exception, "{Observer} failed to {Verb} guest memory 0x{Address:x} + 0x{Length:x}", observer.GetType(), verb, region.GuestAddress, region.LengthBytes);
        }
    }

    private sealed class Registration(MemoryRegistry owner, MemoryRegion region) : IDisposable
    {
        internal MemoryRegion Region { get; } = region;

        public void Dispose() => owner.Remove(this);
    }

    private sealed class Subscription(MemoryRegistry owner, IMemoryObserver observer) : IDisposable
    {
        public void Dispose() => owner.Unsubscribe(observer);
    }
}
