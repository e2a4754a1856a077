using System.Collections.Concurrent;
using Vhost.Abstractions;

namespace Vhost.VhostUser.Tests;

/// <summary>A session of a <see cref="FakeDevice"/>.</summary>
internal sealed class FakeSession(FakeDevice device, IFrontEnd frontEnd) : IVirtioSession
{
    public IFrontEnd FrontEnd => frontEnd;

    public ConcurrentQueue<string> Events { get; } = new();

    public ConcurrentDictionary<int, VirtqueueSetup> Running { get; } = new();

    public GuestMemoryMap Memory { get; private set; } = GuestMemoryMap.Empty;

    public IReadOnlyDictionary<int, VirtqueueAddresses> LastRings { get; private set; } = new Dictionary<int, VirtqueueAddresses>();

    public ulong Features { get; private set; }

    public bool IsDisposed { get; private set; }

    public void SetFeatures(ulong features)
    {
        Assert.Empty(Running);
        Features = features;
        Events.Enqueue($"features 0x{features:x}");
    }

    public async ValueTask<int> SetMemoryAsync(
        GuestMemoryMap memory, IReadOnlyDictionary<int, VirtqueueAddresses> rings, CancellationToken cancellationToken)
    {
        Events.Enqueue($"memory {memory.Regions.Length}");
        Memory = memory;
        LastRings = rings;
        await HangAsync(cancellationToken);
        return device.Hangs ? 1 : 0;
    }

    public ValueTask StartQueueAsync(VirtqueueSetup setup, CancellationToken cancellationToken)
    {
        Events.Enqueue($"start {setup.QueueIndex}");
        Assert.True(Running.TryAdd(setup.QueueIndex, setup), "a running queue is started");
        return ValueTask.CompletedTask;
    }

    public async ValueTask<VirtqueueStop> StopQueueAsync(int queueIndex, CancellationToken cancellationToken)
    {
        Events.Enqueue($"stop {queueIndex}");
        await HangAsync(cancellationToken);
        var state = Running.TryRemove(queueIndex, out var setup)
            ? new VirtqueueState((ushort)(setup.State.NextAvailable + 5), (ushort)(setup.State.NextUsed + 5))
            : default;
        return new VirtqueueStop(state, device.Hangs ? 1 : device.AbandonedRequests);
    }

    public void ResetDevice()
    {
        Assert.Empty(Running);
        Events.Enqueue("reset");
    }

    public ValueTask DisposeAsync()
    {
        IsDisposed = true;
        Events.Enqueue("dispose");
        return ValueTask.CompletedTask;
    }

    private async Task HangAsync(CancellationToken cancellationToken)
    {
        if (device.Hangs)
        {
            await Task.Delay(Timeout.Infinite, cancellationToken).ContinueWith(_ => { }, TaskScheduler.Default);
        }
    }
}
