using System.Numerics;
using Vhost.Abstractions;

namespace Vhost.Plugins.VhostBlk;

/// <summary>What a queue needs to know of the bdev to check a request, worked out once per change of it.</summary>
/// <param name="info">The bdev, or null: every range lies outside it.</param>
/// <param name="isReadOnly">Whether writes are refused anyway.</param>
internal readonly struct BlkGeometry(BdevInfo? info, bool isReadOnly)
{
    private readonly int _blockShift = info is null ? BlkProtocol.SectorShift : BitOperations.Log2(info.BlockSizeBytes);
    private readonly ulong _sectorMask = info is null ? 0 : (info.BlockSizeBytes / BlkProtocol.SectorBytes) - 1;

    /// <summary>Whether there is a bdev.</summary>
    public readonly bool IsPresent = info is not null;

    /// <summary>Whether writes are refused.</summary>
    public readonly bool IsReadOnly = isReadOnly || info is { IsReadOnly: true };

    /// <summary>Number of blocks.</summary>
    public readonly ulong BlockCount = info?.BlockCount ?? 0;

    /// <summary>Operations of the bdev.</summary>
    public readonly BlockOperations Operations = info?.Operations ?? BlockOperations.None;

    /// <summary>Whether blocks can be erased so that nothing brings back what they held.</summary>
    public readonly bool IsSecureErasable = CanSecureErase(info);

    /// <summary>Whether a bdev can erase blocks so that nothing brings back what they held: by zeroes, if these leave no other copy.</summary>
    public static bool CanSecureErase(BdevInfo? info) => info is { ZeroingErases: true } && (info.Operations & BlockOperations.WriteZeroes) != 0;

    /// <summary>Turns a place in sectors and a length in bytes into blocks.</summary>
    /// <param name="sector">First sector.</param>
    /// <param name="lengthBytes">Length.</param>
    /// <param name="startBlock">First block.</param>
    /// <param name="blockCount">Number of blocks.</param>
    /// <returns>Whether the range is not empty, consists of whole blocks and lies within the bdev.</returns>
    public bool TryGetRange(ulong sector, ulong lengthBytes, out ulong startBlock, out ulong blockCount)
    {
        startBlock = sector >> (_blockShift - BlkProtocol.SectorShift);
        blockCount = lengthBytes >> _blockShift;
        var blockMask = (1UL << _blockShift) - 1;
        return (sector & _sectorMask) == 0
            && (lengthBytes & blockMask) == 0
            && blockCount != 0
            && startBlock <= BlockCount
            && blockCount <= BlockCount - startBlock;
    }
}
