using System.Buffers.Binary;
using System.Numerics;

namespace Vhost.Plugins.Nvme.Protocol;

/// <summary>What the driver reads from the Identify Namespace data structure (NVM Command Set 1.0, figure 97).</summary>
internal sealed record NamespaceIdentity
{
    public required ulong BlockCount { get; init; }

    public required uint BlockSizeBytes { get; init; }

    public required bool DiscardReadsZeroes { get; init; }

    /// <summary>Preferred I/O boundary or write size in blocks, 0 for none.</summary>
    public required uint OptimalTransferBlocks { get; init; }

    public required uint DiscardGranularityBlocks { get; init; }

    /// <summary>
    /// The greatest write, in blocks, that a loss of power leaves wholly done or not at all (NAWUPF + 1); null where the controller's counts; 0 where boundaries (NABSPF) would cut
    /// it in two, wherever they lie.
    /// </summary>
    public required uint? AtomicWriteBlocks { get; init; }

    /// <summary>NGUID, or EUI-64 padded, or null.</summary>
    public required Guid? Uuid { get; init; }

    public required bool IsWriteProtected { get; init; }

    /// <summary>Decodes the 4096 bytes.</summary>
    /// <param name="data">The data structure.</param>
    /// <param name="refusal">Why the namespace cannot be served, or null.</param>
    /// <returns>The identity, or null with a reason, or null without one for an inactive namespace (all zeroes).</returns>
    public static NamespaceIdentity? Decode(ReadOnlySpan<byte> data, out string? refusal)
    {
        refusal = null;
        var blockCount = BinaryPrimitives.ReadUInt64LittleEndian(data);
        var formatCount = data[25] + 1;
        var formatByte = data[26];
        var formatIndex = (formatByte & 0xf) | ((formatByte >> 1) & 0x30);
        if (blockCount == 0)
        {
            if (data.ContainsAnyExcept((byte)0))
            {
                refusal = "it has a capacity of 0 blocks";
            }

            return null;
        }

        if (formatIndex >= Math.Min(formatCount, 64))
        {
            refusal = $"its format index {formatIndex} lies outside the {formatCount} formats that it lists";
            return null;
        }

        var format = BinaryPrimitives.ReadUInt32LittleEndian(data[(128 + (4 * formatIndex))..]);
        var metadataBytes = format & 0xffff;
        var blockShift = (int)((format >> 16) & 0xff);
        if (blockShift is < 9 or > 16)
        {
            refusal = $"its block size is 2^{blockShift} bytes; 512 to 65536 bytes can be served";
            return null;
        }

        if (metadataBytes != 0 && ((formatByte & 0x10) != 0 || (data[29] & 7) != 0))
        {
            refusal = $"it is formatted with {metadataBytes} bytes of metadata per block {((data[29] & 7) != 0 ? "and protection information" : "at the end of each block")}; format it without (nvme format --lbaf)";
            return null;
        }

        if (blockCount > (ulong)long.MaxValue >> blockShift)
        {
            refusal = $"it claims {blockCount} blocks of {1u << blockShift} bytes, more than 2^63 bytes";
            return null;
        }

        var hasOptimalFields = (data[24] & 0x10) != 0;
        var preferredWrite = BinaryPrimitives.ReadUInt16LittleEndian(data[64..]) + 1u;
        var preferredDiscard = BinaryPrimitives.ReadUInt16LittleEndian(data[68..]) + 1u;
        return new()
        {
            BlockCount = blockCount,
            BlockSizeBytes = 1u << blockShift,
            DiscardReadsZeroes = (data[33] & 7) == 1,
            OptimalTransferBlocks = hasOptimalFields && BitOperations.IsPow2(preferredWrite) ? preferredWrite : BinaryPrimitives.ReadUInt16LittleEndian(data[46..]),
            DiscardGranularityBlocks = hasOptimalFields ? preferredDiscard : 0,
            AtomicWriteBlocks = BinaryPrimitives.ReadUInt16LittleEndian(data[44..]) != 0 ? 0
                : (data[24] & 0x02) != 0 ? BinaryPrimitives.ReadUInt16LittleEndian(data[36..]) + 1u
                : null,
            Uuid = ReadIdentity(data),
            IsWriteProtected = (data[99] & 1) != 0,
        };
    }

    private static Guid? ReadIdentity(ReadOnlySpan<byte> data)
    {
        var nguid = data.Slice(104, 16);
        if (nguid.ContainsAnyExcept((byte)0))
        {
            return new Guid(nguid, bigEndian: true);
        }

        Span<byte> padded = stackalloc byte[16];
        data.Slice(120, 8).CopyTo(padded);
        return padded.ContainsAnyExcept((byte)0) ? new Guid(padded, bigEndian: true) : null;
    }
}
