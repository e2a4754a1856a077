namespace Vhost.Scsi;

/// <summary>What a command counts as in the statistics of its unit (SPC-5, section 7.3.6.1).</summary>
[Flags]
internal enum CommandClass : byte
{
    /// <summary>It is not counted.</summary>
    None = 0,

    /// <summary>READ (10) to (16).</summary>
    Read = 1,

    /// <summary>WRITE and WRITE AND VERIFY (10) to (16), and UNMAP.</summary>
    Write = 2,

    /// <summary>Its data are not blocks: UNMAP.</summary>
    WithoutBlocks = 4,

    /// <summary>Its CDB has the FUA bit.</summary>
    ForceUnitAccess = 8,
}
