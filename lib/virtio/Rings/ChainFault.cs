namespace Vhost.Virtio;

/// <summary>What is wrong with a ring or with one chain of descriptors in it.</summary>
public enum ChainFault : byte
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>A descriptor's range lies outside the guest's memory.</summary>
    AddressOutOfRange,

    /// <summary>A device-writable descriptor lies in memory that this process may only read.</summary>
    MemoryNotWritable,

    /// <summary>A descriptor has length 0.</summary>
    ZeroLength,

    /// <summary>A device-readable descriptor follows a device-writable one.</summary>
    ReadableAfterWritable,

    /// <summary>A chain breaks into more pieces than a request may have.</summary>
    TooManySegments,

    /// <summary>A chain has no descriptor: an indirect table of length 0.</summary>
    EmptyChain,

    /// <summary>From here on the faults leave the extent of the chain unknown, so that the queue is broken by them.</summary>
    FirstFatal = 32,

    /// <summary>The available index is further ahead than the ring has entries.</summary>
    AvailableIndexPastRing,

    /// <summary>The available ring names a descriptor that does not exist.</summary>
    HeadOutOfRange,

    /// <summary>A descriptor's next field names a descriptor that does not exist.</summary>
    NextOutOfRange,

    /// <summary>A chain is longer than its table: it loops.</summary>
    DescriptorLoop,

    /// <summary>More requests were made available than the queue has entries.</summary>
    TooManyRequests,

    /// <summary>An indirect descriptor appears within an indirect table.</summary>
    NestedIndirect,

    /// <summary>An indirect descriptor appears although the feature was not negotiated.</summary>
    IndirectNotNegotiated,

    /// <summary>An indirect descriptor also has the next flag.</summary>
    IndirectWithNext,

    /// <summary>An indirect table's length is not a multiple of 16, or is 0, or longer than a chain may be.</summary>
    IndirectLength,

    /// <summary>An indirect table does not lie wholly within one region of the guest's memory.</summary>
    IndirectAddress,

    /// <summary>A packed ring makes descriptors available that the device has not given back yet.</summary>
    PackedOverrun,

    /// <summary>A packed chain runs into a descriptor that is not available: its wrap counter is wrong.</summary>
    PackedWrapCounter,
}
