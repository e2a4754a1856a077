using System.Buffers.Binary;
using Vhost.Abstractions;
using Vhost.Virtio;

namespace Vhost.Plugins.VhostBlk;

/// <summary>Reads and checks the ranges of discard, write-zeroes and secure erase requests (virtio 1.3, section 5.2.6.2).</summary>
internal static unsafe class BlkRangeParser
{
    /// <summary>Copies all ranges, checks all of them, and prepares the first; nothing is done if one of them is wrong.</summary>
    /// <param name="request">The request, its header taken.</param>
    /// <param name="blk">Its private area.</param>
    /// <param name="geometry">The bdev.</param>
    /// <param name="type">Discard, write-zeroes or secure erase.</param>
    /// <param name="isWritethrough">Whether zeroes have to be durable when they are reported as written.</param>
    /// <returns>The status: not OK if the request is to be answered with it.</returns>
    public static byte Parse(VirtioRequest* request, BlkRequest* blk, in BlkGeometry geometry, uint type, bool isWritethrough)
    {
        var isDiscard = type == BlkProtocol.TypeDiscard;
        var isSecureErase = type == BlkProtocol.TypeSecureErase;
        var needed = isDiscard ? BlockOperations.Discard : BlockOperations.WriteZeroes;
        if (!geometry.IsPresent || geometry.IsReadOnly)
        {
            return BlkProtocol.StatusIoError;
        }

        if ((geometry.Operations & needed) == 0 || (isSecureErase && !geometry.IsSecureErasable))
        {
            return BlkProtocol.StatusUnsupported;
        }

        var lengthBytes = request->ReadableBytes - BlkProtocol.HeaderBytes;
        var count = lengthBytes / BlkProtocol.RangeBytes;
        if (count == 0 || count > BlkLimits.MaxRanges || lengthBytes % BlkProtocol.RangeBytes != 0)
        {
            return BlkProtocol.StatusIoError;
        }

        Span<byte> bytes = stackalloc byte[BlkLimits.MaxRanges * BlkProtocol.RangeBytes];
        bytes = bytes[..(int)lengthBytes];
        if (!BlkGather.TryTake(request, bytes))
        {
            return BlkProtocol.StatusIoError;
        }

        var maxSectors = isDiscard ? BlkLimits.MaxDiscardSectors : isSecureErase ? BlkLimits.MaxSecureEraseSectors : BlkLimits.MaxWriteZeroesSectors;
        var status = BlkProtocol.StatusOk;
        for (var i = 0; i < (int)count; i++)
        {
            var entry = bytes[(i * BlkProtocol.RangeBytes)..];
            var sector = BinaryPrimitives.ReadUInt64LittleEndian(entry);
            var sectorCount = BinaryPrimitives.ReadUInt32LittleEndian(entry[8..]);
            var flags = BinaryPrimitives.ReadUInt32LittleEndian(entry[12..]);
            if ((flags & ~BlkProtocol.RangeFlagUnmap) != 0 || ((isDiscard || isSecureErase) && flags != 0))
            {
                return BlkProtocol.StatusUnsupported;
            }

            ref var range = ref blk->Ranges[i];
            if (sectorCount > maxSectors
                || !geometry.TryGetRange(sector, (ulong)sectorCount << BlkProtocol.SectorShift, out range.StartBlock, out var blockCount))
            {
                // The rest is looked at all the same: an unknown flag goes first.
                status = BlkProtocol.StatusIoError;
                continue;
            }

            range.BlockCount = (uint)blockCount;
            range.Flags = isDiscard
                ? BlockRequestFlags.None
                : (flags != 0 ? BlockRequestFlags.MayUnmap : 0) | (isWritethrough || isSecureErase ? BlockRequestFlags.ForceUnitAccess : 0);
        }

        if (status == BlkProtocol.StatusOk)
        {
            blk->Block.Operation = isDiscard ? BlockOperation.Discard : BlockOperation.WriteZeroes;
            blk->RangeCount = (int)count;
            blk->TakeRange();
        }

        return status;
    }
}
