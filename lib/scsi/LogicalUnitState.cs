using System.Numerics;
using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>What the data path needs to know of a logical unit. Immutable; a change is a new state that is published as a whole.</summary>
internal sealed class LogicalUnitState
{
    // Bounds what one command may ask for where no buffer of the initiator does: VERIFY, PRE-FETCH.
    private const uint MaxTransferBytes = 64 * 1024 * 1024;
    private const uint MaxWriteSameBytes = 1024 * 1024 * 1024;
    private const ulong MaxUnmapBytes = 32UL * 1024 * 1024 * 1024;
    private const uint MaxCompareAndWriteBytes = 64 * 1024;

    public LogicalUnitState(BdevInfo info, LogicalUnitIdentity identity, ModeParameters mode, bool isStopped)
    {
        Info = info;
        Identity = identity;
        Mode = mode;
        IsStopped = isStopped;
        BlockSizeBytes = info.BlockSizeBytes;
        BlockShift = BitOperations.Log2(info.BlockSizeBytes);
        BlockCount = info.BlockCount;
        WriteFlags = info.HasVolatileWriteCache && mode.IsWriteCacheDisabled ? BlockRequestFlags.ForceUnitAccess : BlockRequestFlags.None;
        AllowsWrites = !isStopped && !info.IsReadOnly && !mode.IsSoftwareWriteProtected;
    }

    public BdevInfo Info { get; }

    public LogicalUnitIdentity Identity { get; }

    public ModeParameters Mode { get; }

    public bool IsStopped { get; }

    public uint BlockSizeBytes { get; }

    public int BlockShift { get; }

    public ulong BlockCount { get; }

    public bool AllowsWrites { get; }

    /// <summary>Flags of each write.</summary>
    public BlockRequestFlags WriteFlags { get; }

    public bool IsWriteCacheEnabled => Info.HasVolatileWriteCache && !Mode.IsWriteCacheDisabled;

    public bool CanFlush => (Info.Operations & BlockOperations.Flush) != 0;

    public bool CanDiscard => (Info.Operations & BlockOperations.Discard) != 0;

    public bool CanWriteZeroes => (Info.Operations & BlockOperations.WriteZeroes) != 0;

    public bool CanCompareAndWrite => (Info.Operations & BlockOperations.CompareAndWrite) != 0;

    /// <summary>The limit of READ, WRITE, VERIFY and their like (VPD page B0h).</summary>
    public uint MaxTransferBlocks => MaxTransferBytes >> BlockShift;

    /// <summary>The limit of WRITE SAME (VPD page B0h).</summary>
    public uint MaxWriteSameBlocks => MaxWriteSameBytes >> BlockShift;

    /// <summary>The limit of UNMAP: blocks in all descriptors together (VPD page B0h).</summary>
    public uint MaxUnmapBlocks => (uint)(MaxUnmapBytes >> BlockShift);

    /// <summary>The limit of WRITE ATOMIC, for which there are 16 bits (VPD page B0h); 0 where no write is atomic.</summary>
    public uint MaxAtomicBlocks => Math.Min(Info.AtomicWriteBlocks, Math.Min(MaxTransferBlocks, ushort.MaxValue));

    /// <summary>The limit of COMPARE AND WRITE, for which there are 8 bits (VPD page B0h).</summary>
    public uint MaxCompareAndWriteBlocks => Math.Min(255, MaxCompareAndWriteBytes >> BlockShift);
}
