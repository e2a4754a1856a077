namespace Vhost.Abstractions;

/// <summary>Modifies a block request.</summary>
[Flags]
public enum BlockRequestFlags : byte
{
    /// <summary>Nothing special.</summary>
    None = 0,

    /// <summary>Force unit access: a write is on stable storage when it completes. The host emulates it by a flush where the bdev says that it lacks it.</summary>
    ForceUnitAccess = 1 << 0,

    /// <summary>A <see cref="BlockOperation.WriteZeroes"/> may deallocate the blocks.</summary>
    MayUnmap = 1 << 1,

    /// <summary>
    /// A <see cref="BlockOperation.Write"/> is atomic: every other request finds all of it or nothing, and so does whoever looks after a failure. At most
    /// <see cref="BdevInfo.AtomicWriteBlocks"/> long, else it is <see cref="BlockStatus.Unsupported"/>. The host does what it takes; a bdev may leave the flag alone.
    /// </summary>
    Atomic = 1 << 2,
}
