namespace Vhost.Scsi;

/// <summary>What a reservation of another nexus forbids a nexus. Shares a word with <see cref="UnitAttentions"/>.</summary>
[Flags]
internal enum Conflicts
{
    None = 0,

    /// <summary>Commands with <see cref="CommandTraits.ConflictsWithReserve6"/>.</summary>
    Reserve6 = 1 << 28,

    /// <summary>Commands with <see cref="CommandTraits.ConflictsWithExclusiveAccess"/>.</summary>
    ExclusiveAccess = 1 << 29,

    /// <summary>Commands with <see cref="CommandTraits.ConflictsWithAnyReservation"/>.</summary>
    AnyReservation = 1 << 30,
    All = Reserve6 | ExclusiveAccess | AnyReservation,
}
