using System.Buffers.Binary;
using Vhost.VhostUser;

namespace Vhost.Plugins.VvuTransport;

/// <summary>
/// Finds memory regions in the BAR. The device puts region i behind the former ones, each as long as its offset and size together, so that its data begins at
/// base + sum(j &lt; i)(offset_j + size_j) + offset_i. Our own device chooses the offsets so that this sum, modulo 2^64, is where the memory really lies.
/// </summary>
internal static class MemoryTable
{
    /// <summary>Replaces the offsets in a message that carries memory regions by offsets in the BAR; leaves other messages alone.</summary>
    /// <param name="request">The request.</param>
    /// <param name="payload">Its payload.</param>
    /// <param name="memoryOffsetBytes">Where memory begins in the BAR.</param>
    public static void Rewrite(FrontEndRequest request, Span<byte> payload, ulong memoryOffsetBytes)
    {
        if (request == FrontEndRequest.SetMemoryTable && payload.Length >= RegionDescription.PrefixBytes)
        {
            // A count that does not fit the payload is the session's to refuse: here it only bounds the loop.
            var count = BinaryPrimitives.ReadUInt32LittleEndian(payload);
            var position = memoryOffsetBytes;
            for (var i = 0; i < count && RegionDescription.PrefixBytes + ((i + 1) * RegionDescription.WireBytes) <= payload.Length; i++)
            {
                var field = payload.Slice(RegionDescription.PrefixBytes + (i * RegionDescription.WireBytes), RegionDescription.WireBytes);
                var region = RegionDescription.Read(field);
                var start = unchecked(position + region.OffsetBytes);
                (region with { OffsetBytes = start }).Write(field);
                position = unchecked(start + region.LengthBytes);
            }
        }
        else if (request is FrontEndRequest.AddMemoryRegion or FrontEndRequest.RemoveMemoryRegion
            && payload.Length >= RegionDescription.PrefixBytes + RegionDescription.WireBytes)
        {
            // Only our own device forwards these, with the offset from where memory begins.
            var field = payload[RegionDescription.PrefixBytes..];
            var region = RegionDescription.Read(field);
            (region with { OffsetBytes = unchecked(memoryOffsetBytes + region.OffsetBytes) }).Write(field);
        }
    }
}
