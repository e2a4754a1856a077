namespace Vhost.Scsi;

/// <summary>What a device server does when the block request of a task is completed.</summary>
internal enum Continuation : byte
{
    /// <summary>The command is done.</summary>
    None = 0,

    /// <summary>Dirty cache is on the medium: now read (READ with FUA).</summary>
    ReadAfterFlush,

    /// <summary>The next descriptor of an UNMAP.</summary>
    Unmap,

    /// <summary>The next piece of a WRITE SAME with a pattern.</summary>
    WriteSame,

    /// <summary>The next piece of a VERIFY without data.</summary>
    VerifyMedium,

    /// <summary>The next piece of a VERIFY of one block against many.</summary>
    VerifySame,

    /// <summary>The data is written: now verify it (WRITE AND VERIFY).</summary>
    VerifyWritten,

    /// <summary>The cache is flushed: from now on it is off.</summary>
    ModeSelect,

    /// <summary>The blocks are read: now OR them and write them if they are still the same.</summary>
    OrWriteRead,

    /// <summary>The ORed blocks were written, or were changed in between.</summary>
    OrWriteWrite,

    /// <summary>The cache is flushed: the unit stops.</summary>
    Stop,

    /// <summary>A block was read in a self-test.</summary>
    SelfTest,

    /// <summary>A piece of an EXTENDED COPY was read or written.</summary>
    Copy,
}
