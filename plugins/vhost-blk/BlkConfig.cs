using System.Buffers.Binary;
using System.Numerics;
using Vhost.Abstractions;

namespace Vhost.Plugins.VhostBlk;

/// <summary>The device's configuration space (virtio 1.3, section 5.2.4).</summary>
internal static class BlkConfig
{
    /// <summary>Length: up to the secure erase fields.</summary>
    public const int LengthBytes = 72;

    /// <summary>Where the write-cache field is, the only one that a driver may write.</summary>
    public const int WritebackOffsetBytes = 32;

    /// <summary>Fills the space.</summary>
    /// <param name="config">Its <see cref="LengthBytes"/> bytes.</param>
    /// <param name="info">The bdev, or null: a disk of size 0.</param>
    /// <param name="queueCount">The most queues.</param>
    /// <param name="isWriteback">The write-cache field.</param>
    public static void Write(Span<byte> config, BdevInfo? info, int queueCount, bool isWriteback)
    {
        config.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(config[12..], BlkLimits.MaxDataSegments);
        config[WritebackOffsetBytes] = isWriteback ? (byte)1 : (byte)0;
        BinaryPrimitives.WriteUInt16LittleEndian(config[34..], (ushort)queueCount);
        if (info is null)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(config[20..], BlkProtocol.SectorBytes);
            return;
        }

        var blockSize = info.BlockSizeBytes;
        var sectorsPerBlock = blockSize / BlkProtocol.SectorBytes;
        BinaryPrimitives.WriteUInt64LittleEndian(config, info.BlockCount * sectorsPerBlock);
        BinaryPrimitives.WriteUInt32LittleEndian(config[20..], blockSize);
        var physical = Math.Max(info.PhysicalBlockSizeBytes, blockSize);
        config[24] = (byte)BitOperations.Log2(physical / blockSize);
        BinaryPrimitives.WriteUInt16LittleEndian(config[26..], (ushort)Math.Min(physical / blockSize, ushort.MaxValue));
        BinaryPrimitives.WriteUInt32LittleEndian(config[28..], info.OptimalTransferBlocks);
        if ((info.Operations & BlockOperations.Discard) != 0)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(config[36..], BlkLimits.MaxDiscardSectors);
            BinaryPrimitives.WriteUInt32LittleEndian(config[40..], BlkLimits.MaxRanges);
            BinaryPrimitives.WriteUInt32LittleEndian(config[44..], Math.Max(info.DiscardGranularityBlocks, 1) * sectorsPerBlock);
        }

        if ((info.Operations & BlockOperations.WriteZeroes) != 0)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(config[48..], BlkLimits.MaxWriteZeroesSectors);
            BinaryPrimitives.WriteUInt32LittleEndian(config[52..], BlkLimits.MaxRanges);
            config[56] = 1;
        }

        if (BlkGeometry.CanSecureErase(info))
        {
            BinaryPrimitives.WriteUInt32LittleEndian(config[60..], BlkLimits.MaxSecureEraseSectors);
            BinaryPrimitives.WriteUInt32LittleEndian(config[64..], BlkLimits.MaxRanges);
            BinaryPrimitives.WriteUInt32LittleEndian(config[68..], sectorsPerBlock);
        }
    }
}
