namespace Vhost.Scsi;

/// <summary>START STOP UNIT (SBC-3, section 5.25). The medium cannot be ejected, and there are no power conditions but active and stopped.</summary>
internal static unsafe class StartStopUnit
{
    private const byte StartBit = 0x01;
    private const byte LoadEjectBit = 0x02;
    private const byte NoFlushBit = 0x04;

    public static ScsiAction Begin(ItlNexus nexus, LogicalUnitState state, ScsiTask* task)
    {
        var cdb = ScsiTask.CdbOf(task);
        var powerCondition = cdb[4] >> 4;
        if (powerCondition > 1)
        {
            return TaskResult.InvalidCdb(task, 4, 7);
        }

        if ((cdb[3] & 0x0F) != 0)
        {
            return TaskResult.InvalidCdb(task, 3, 3);
        }

        if ((cdb[4] & LoadEjectBit) != 0)
        {
            return TaskResult.InvalidCdb(task, 4, 1);
        }

        if (powerCondition == 1 || (cdb[4] & StartBit) != 0)
        {
            nexus.Unit.SetStopped(false);
            return TaskResult.Good(task);
        }

        return (cdb[4] & NoFlushBit) == 0 && state.CanFlush ? Transfers.Flush(task, Continuation.Stop) : Stop(nexus, task);
    }

    public static ScsiAction Stop(ItlNexus nexus, ScsiTask* task)
    {
        nexus.Unit.SetStopped(true);
        return TaskResult.Good(task);
    }

    /// <summary>Starting is allowed whoever holds a reservation, stopping is not (SBC-3, table 13).</summary>
    public static bool ConflictsWith(Conflicts conflicts, ScsiTask* task)
        => (conflicts & Conflicts.AnyReservation) != 0 && (task->Cdb[4] & 0xF1) != StartBit;
}
