namespace Vhost.Pci;

/// <summary>What a DMA domain holds, and how often it could not be used.</summary>
/// <param name="MappedBytes">Guest memory that devices reach.</param>
/// <param name="MappedRegions">Regions of guest memory that devices reach, wholly or in part.</param>
/// <param name="UnmappedRegions">Regions of guest memory that they do not reach: requests to them are bounced.</param>
/// <param name="AllocatedBytes">Memory allocated for queues and buffers.</param>
/// <param name="BouncedTransfers">Transfers that went through a bounce buffer since the domain was made.</param>
/// <param name="BouncedBytes">Bytes of those transfers.</param>
public readonly record struct DmaStatistics(
    ulong MappedBytes, int MappedRegions, int UnmappedRegions, ulong AllocatedBytes, long BouncedTransfers, long BouncedBytes);
