namespace Vhost.Abstractions;

/// <summary>Is told of guest memory that appears and disappears. Calls come on control threads, one at a time.</summary>
public interface IMemoryObserver
{
    /// <summary>A region is there. What cannot be mapped is the observer's to handle, by bounce buffers; an exception is logged and does not stop the guest.</summary>
    /// <param name="region">The region.</param>
    void OnRegionAdded(MemoryRegion region);

    /// <summary>No request uses the region any more; the observer unmaps it before it returns.</summary>
    /// <param name="region">The region, as it was added.</param>
    void OnRegionRemoved(MemoryRegion region);
}
