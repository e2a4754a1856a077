namespace Vhost.Virtio;

/// <summary>What the driver knows of a request that the device has, in memory that the device cannot write.</summary>
internal struct DriverChain
{
    /// <summary>The submitter's own.</summary>
    public ulong Token;

    /// <summary>The most that the device can have written.</summary>
    public ulong WritableBytes;

    /// <summary>Ring descriptors that the request takes; 0 while the entry is free.</summary>
    public ushort EntryCount;

    /// <summary>Split: the next descriptor of the chain or of the free list. Packed: the next free id.</summary>
    public ushort Next;
}
