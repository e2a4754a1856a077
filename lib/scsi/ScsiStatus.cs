namespace Vhost.Scsi;

/// <summary>Status codes (SAM-5, section 5.3).</summary>
public enum ScsiStatus : byte
{
    /// <summary>GOOD.</summary>
    Good = 0x00,

    /// <summary>CHECK CONDITION: sense data says why.</summary>
    CheckCondition = 0x02,

    /// <summary>CONDITION MET (PRE-FETCH).</summary>
    ConditionMet = 0x04,

    /// <summary>BUSY: out of resources for the moment.</summary>
    Busy = 0x08,

    /// <summary>RESERVATION CONFLICT: another I_T nexus holds a reservation.</summary>
    ReservationConflict = 0x18,

    /// <summary>TASK SET FULL.</summary>
    TaskSetFull = 0x28,

    /// <summary>TASK ABORTED: aborted by another I_T nexus.</summary>
    TaskAborted = 0x40,
}
