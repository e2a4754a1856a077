namespace Vhost.Abstractions;

/// <summary>
/// The process-wide list of guest memory. Transports announce the memory of their guests; sources of bdevs that do DMA observe it,
/// so that each region is mapped for their devices before the first request that uses it and unmapped after the last.
/// Control threads only.
/// </summary>
public interface IMemoryRegistry
{
    /// <summary>Announces a region. Returns when every observer has had its chance to map it.</summary>
    /// <param name="region">The region; its mapping outlives the registration.</param>
    /// <returns>Withdraws the region when disposed, and returns when every observer has unmapped it.</returns>
    IDisposable Register(MemoryRegion region);

    /// <summary>Observes the registry. The observer is first told of every region that is there already.</summary>
    /// <param name="observer">The observer; calls to it are serialised.</param>
    /// <returns>Ends the observation when disposed. The observer is not told of removals then.</returns>
    IDisposable Subscribe(IMemoryObserver observer);
}
