using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using Vhost.Abstractions;

namespace Vhost.Plugins.VirtioScsi.Scsi;

/// <summary>What a disk tells of itself by INQUIRY, READ CAPACITY and MODE SENSE, decoded with the care that foreign data needs.</summary>
internal sealed class DiskIdentity
{
    private DiskIdentity()
    {
    }

    /// <summary>The most blocks of one UNMAP; 0 if there is none.</summary>
    public uint MaxUnmapBlocks { get; private set; }

    /// <summary>The most blocks of one WRITE SAME; 0 if there is none.</summary>
    public ulong MaxWriteSameBlocks { get; private set; }

    /// <summary>Whether WRITE SAME with UNMAP leaves zeroes.</summary>
    public bool CanUnmapToZeroes { get; private set; }

    /// <summary>The most blocks of one transfer; <see cref="uint.MaxValue"/> without a limit.</summary>
    public uint MaxTransferBlocks { get; private set; } = uint.MaxValue;

    /// <summary>The disk as a bdev.</summary>
    public BdevInfo Info { get; private set; } = null!;

    /// <summary>Whether standard INQUIRY data are those of a disk that is there.</summary>
    public static bool IsDisk(ReadOnlySpan<byte> inquiry) => inquiry.Length >= 36 && inquiry[0] == 0; // qualifier 0, type 0: direct access

    /// <summary>Puts the answers together; each but the first two may be empty because the disk does not have it.</summary>
    /// <param name="inquiry">Standard INQUIRY data.</param>
    /// <param name="capacity">READ CAPACITY (16) data, or those of (10) in 8 bytes.</param>
    /// <param name="serialPage">VPD page 80.</param>
    /// <param name="limitsPage">VPD page B0.</param>
    /// <param name="provisioningPage">VPD page B2.</param>
    /// <param name="rotationPage">VPD page B1.</param>
    /// <param name="cachingMode">MODE SENSE (6) data of the caching page.</param>
    /// <param name="refusal">Why the disk cannot be served.</param>
    public static DiskIdentity? Decode(
        ReadOnlySpan<byte> inquiry, ReadOnlySpan<byte> capacity, ReadOnlySpan<byte> serialPage, ReadOnlySpan<byte> limitsPage,
        ReadOnlySpan<byte> provisioningPage, ReadOnlySpan<byte> rotationPage, ReadOnlySpan<byte> cachingMode, out string? refusal)
    {
        ulong lastBlock;
        uint blockSize;
        if (capacity.Length >= 12)
        {
            lastBlock = BinaryPrimitives.ReadUInt64BigEndian(capacity);
            blockSize = BinaryPrimitives.ReadUInt32BigEndian(capacity[8..]);
        }
        else if (capacity.Length == 8)
        {
            lastBlock = BinaryPrimitives.ReadUInt32BigEndian(capacity);
            blockSize = BinaryPrimitives.ReadUInt32BigEndian(capacity[4..]);
        }
        else
        {
            refusal = $"its capacity data are cut short ({capacity.Length} bytes)";
            return null;
        }

        if (!BitOperations.IsPow2(blockSize) || blockSize is < 512 or > 65536)
        {
            refusal = $"its block size is {blockSize} bytes; a power of two from 512 to 65536 can be served";
            return null;
        }

        if (lastBlock >= (ulong)long.MaxValue / blockSize)
        {
            refusal = $"it claims {lastBlock} + 1 blocks of {blockSize} bytes, more than 2^63 bytes";
            return null;
        }

        if (capacity.Length >= 13 && (capacity[12] & 1) != 0)
        {
            refusal = "it is formatted with protection information (PROT_EN), which cannot be served; format it without";
            return null;
        }

        refusal = null;
        var disk = new DiskIdentity();
        uint granularity = 0;
        uint optimal = 0;
        ulong maxWriteSame = 0;
        if (limitsPage.Length >= 44)
        {
            var maxTransfer = BinaryPrimitives.ReadUInt32BigEndian(limitsPage[8..]);
            disk.MaxTransferBlocks = maxTransfer == 0 ? uint.MaxValue : maxTransfer;
            optimal = BinaryPrimitives.ReadUInt32BigEndian(limitsPage[12..]);
            var descriptors = BinaryPrimitives.ReadUInt32BigEndian(limitsPage[24..]);
            disk.MaxUnmapBlocks = descriptors == 0 ? 0 : BinaryPrimitives.ReadUInt32BigEndian(limitsPage[20..]);
            granularity = BinaryPrimitives.ReadUInt32BigEndian(limitsPage[28..]);
            maxWriteSame = BinaryPrimitives.ReadUInt64BigEndian(limitsPage[36..]);
        }

        var provisioning = provisioningPage.Length >= 6 ? provisioningPage[5] : (byte)0;
        if ((provisioning & 0x80) == 0)
        {
            disk.MaxUnmapBlocks = 0;
        }

        var readsZeroes = ((provisioning >> 2) & 7) != 0;
        disk.CanUnmapToZeroes = (provisioning & 0x40) != 0 && readsZeroes;
        disk.MaxWriteSameBlocks = maxWriteSame;
        var writeProtected = cachingMode.Length >= 4 && (cachingMode[2] & 0x80) != 0;
        var hasFua = cachingMode.Length >= 4 && (cachingMode[2] & 0x10) != 0;
        // Without the caching page nothing is known of a cache: flushing one that is not there costs little, not flushing loses data.
        var page = cachingMode.Length > 4 + cachingMode[3] ? cachingMode[(4 + cachingMode[3])..] : default;
        var writeCache = page.Length < 3 || (page[0] & 0x3f) != 8 || (page[2] & 4) != 0;
        var physicalShift = capacity.Length >= 14 ? capacity[13] & 0xf : 0;
        disk.Info = new BdevInfo
        {
            BlockSizeBytes = blockSize,
            BlockCount = lastBlock + 1,
            PhysicalBlockSizeBytes = (uint)Math.Min((ulong)blockSize << physicalShift, 1u << 20),
            ProductName = "Virtio SCSI Disk",
            SerialNumber = serialPage.Length > 4 ? Text(serialPage[4..]) : null,
            IsReadOnly = writeProtected,
            HasVolatileWriteCache = writeCache,
            HasForceUnitAccess = hasFua,
            DiscardReadsZeroes = readsZeroes,
            OptimalTransferBlocks = optimal,
            DiscardGranularityBlocks = granularity,
            IsRotational = rotationPage.Length < 6 || BinaryPrimitives.ReadUInt16BigEndian(rotationPage[4..]) != 1,
            Operations = BlockOperations.Read | BlockOperations.Write | BlockOperations.Flush
                | (disk.MaxUnmapBlocks != 0 ? BlockOperations.Discard : 0)
                | (disk.MaxWriteSameBlocks != 0 ? BlockOperations.WriteZeroes : 0),
        };
        return disk;
    }

    private static string? Text(ReadOnlySpan<byte> field)
    {
        var text = new StringBuilder(field.Length);
        foreach (var value in field)
        {
            text.Append(value is >= 0x20 and < 0x7f ? (char)value : ' ');
        }

        var trimmed = text.ToString().Trim();
        return trimmed.Length == 0 ? null : trimmed;
    }
}
