namespace Vhost.Virtio;

/// <summary>Says faults in words.</summary>
public static class ChainFaults
{
    /// <summary>Whether the fault leaves the extent of the chain unknown, so that no answer is possible.</summary>
    /// <param name="fault">The fault.</param>
    public static bool IsFatal(this ChainFault fault) => fault > ChainFault.FirstFatal;

    /// <summary>The fault in words, for logs and for the front-end.</summary>
    /// <param name="fault">The fault.</param>
    public static string Describe(this ChainFault fault) => fault switch
    {
        ChainFault.AddressOutOfRange => "a descriptor's range lies outside the guest's memory",
        ChainFault.MemoryNotWritable => "a device-writable descriptor lies in read-only memory",
        ChainFault.ZeroLength => "a descriptor has length 0",
        ChainFault.ReadableAfterWritable => "a device-readable descriptor follows a device-writable one",
        ChainFault.TooManySegments => "a chain breaks into too many pieces",
        ChainFault.EmptyChain => "a chain has no descriptor",
        ChainFault.AvailableIndexPastRing => "the available index is further ahead than the ring has entries",
        ChainFault.HeadOutOfRange => "the available ring names a descriptor that does not exist",
        ChainFault.NextOutOfRange => "a descriptor's next field names a descriptor that does not exist",
        ChainFault.DescriptorLoop => "a chain of descriptors loops",
        ChainFault.TooManyRequests => "more requests were made available than the queue has entries",
        ChainFault.NestedIndirect => "an indirect descriptor lies within an indirect table",
        ChainFault.IndirectNotNegotiated => "an indirect descriptor appears although the feature was not negotiated",
        ChainFault.IndirectWithNext => "an indirect descriptor has the next flag as well",
        ChainFault.IndirectLength => "an indirect table's length is 0, no multiple of 16, or beyond the limit",
        ChainFault.IndirectAddress => "an indirect table lies outside the guest's memory or across two of its regions",
        ChainFault.PackedOverrun => "descriptors were made available again before the device gave them back",
        ChainFault.PackedWrapCounter => "a chain runs into a descriptor whose wrap counter says that it is not available",
        _ => "no fault",
    };
}
