namespace Vhost.Virtio;

/// <summary>The requests of one queue that still use a former memory map. Counted on the queue's reactor.</summary>
/// <param name="epoch">Which map.</param>
/// <param name="space">The map.</param>
/// <param name="count">How many requests use it; more than 0.</param>
internal sealed class MemoryLease(uint epoch, GuestAddressSpace space, int count)
{
    private readonly TaskCompletionSource _released = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _count = count;

    /// <summary>Which map.</summary>
    public uint Epoch { get; } = epoch;

    /// <summary>The map, for the dirty log.</summary>
    public GuestAddressSpace Space { get; } = space;

    /// <summary>How many requests use the map. Any thread.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>Completes, off the reactor, when no request uses the map any more.</summary>
    public Task Released => _released.Task;

    /// <summary>One request less.</summary>
    /// <returns>Whether it was the last one.</returns>
    public bool Release()
    {
        Volatile.Write(ref _count, _count - 1);
        if (_count != 0)
        {
            return false;
        }

        _released.SetResult();
        return true;
    }
}
