namespace Vhost.Scsi;

/// <summary>What the device server checks before a command runs.</summary>
[Flags]
internal enum CommandTraits : byte
{
    None = 0,

    /// <summary>Runs although a unit attention is pending (SAM-5, section 5.14).</summary>
    IgnoresUnitAttention = 1 << 0,

    /// <summary>Needs a unit that is started.</summary>
    NeedsMedium = 1 << 1,

    /// <summary>Writes to the medium: refused on a write-protected unit.</summary>
    Writes = 1 << 2,

    /// <summary>Conflicts with a reservation of the exclusive-access kind that another nexus holds (SPC-4, table 66; SBC-3, table 13).</summary>
    ConflictsWithExclusiveAccess = 1 << 3,

    /// <summary>Conflicts with any reservation that another nexus holds.</summary>
    ConflictsWithAnyReservation = 1 << 4,

    /// <summary>Conflicts with RESERVE(6) of another nexus. Set for all that do not say otherwise in SPC-2.</summary>
    ConflictsWithReserve6 = 1 << 5,

    /// <summary>Answered for a logical unit that is not there, too.</summary>
    WorksUnattached = 1 << 6,
}
