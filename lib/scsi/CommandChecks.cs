using System.Numerics;

namespace Vhost.Scsi;

/// <summary>What is checked before a command runs, in the order in which it is reported.</summary>
internal static unsafe class CommandChecks
{
    /// <summary>Checks; if something does not pass, the task is done.</summary>
    public static bool Pass(ItlNexus nexus, LogicalUnitState state, CommandDescriptor command, ScsiTask* task)
    {
        var traits = command.Traits;
        if ((traits & CommandTraits.IgnoresUnitAttention) == 0)
        {
            var attention = nexus.TakeUnitAttention();
            if (attention != UnitAttentions.None)
            {
                TaskResult.Check(task, SenseKey.UnitAttention, ItlNexus.Describe(attention));
                return false;
            }
        }

        if (!IsSupported(command, task) || !IsAvailable(state, command, task) || !HasValidCdb(command, task))
        {
            return false;
        }

        if (Conflicts(nexus.Conflicts, traits) || (command.Kind == CommandKind.StartStopUnit && StartStopUnit.ConflictsWith(nexus.Conflicts, task)))
        {
            TaskResult.WithStatus(task, ScsiStatus.ReservationConflict);
            return false;
        }

        if ((traits & CommandTraits.NeedsMedium) != 0 && state.IsStopped)
        {
            TaskResult.Check(task, SenseKey.NotReady, AdditionalSense.InitializingCommandRequired);
            return false;
        }

        if ((traits & CommandTraits.Writes) != 0 && !state.AllowsWrites)
        {
            TaskResult.Check(
                task,
                SenseKey.DataProtect,
                state.Info.IsReadOnly ? AdditionalSense.WriteProtected : AdditionalSense.SoftwareWriteProtected);
            return false;
        }

        return true;
    }

    /// <summary>Whether there is such a command; if not, the task is done.</summary>
    public static bool IsSupported(CommandDescriptor command, ScsiTask* task)
    {
        if (command.Kind != CommandKind.Unknown)
        {
            return true;
        }

        if (CommandTable.IsKnown(task->Cdb[0]))
        {
            // The operation code is known, its service action is not (SPC-4, section 4.2.5.2).
            TaskResult.InvalidCdb(task, 1, 4);
        }
        else
        {
            TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.InvalidOperationCode, null, SenseKeySpecific.Cdb(0));
        }

        return false;
    }

    /// <summary>Whether the CDB is long enough and sets no bit that must be zero; if not, the task is done.</summary>
    public static bool HasValidCdb(CommandDescriptor command, ScsiTask* task)
    {
        if (task->CdbLengthBytes < command.LengthBytes)
        {
            TaskResult.InvalidCdb(task, Math.Max(0, task->CdbLengthBytes));
            return false;
        }

        for (var i = 1; i < command.LengthBytes; i++)
        {
            var wrong = task->Cdb[i] & command.ForbiddenBits[i];
            if (wrong != 0)
            {
                TaskResult.InvalidCdb(task, i, BitOperations.Log2((uint)wrong));
                return false;
            }
        }

        return true;
    }

    private static bool IsAvailable(LogicalUnitState state, CommandDescriptor command, ScsiTask* task)
    {
        if (SupportedOperations.IsAvailable(state, command))
        {
            return true;
        }

        TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.InvalidOperationCode, null, SenseKeySpecific.Cdb(0));
        return false;
    }

    private static bool Conflicts(Conflicts conflicts, CommandTraits traits)
        => ((conflicts & Scsi.Conflicts.AnyReservation) != 0 && (traits & CommandTraits.ConflictsWithAnyReservation) != 0)
            || ((conflicts & Scsi.Conflicts.ExclusiveAccess) != 0 && (traits & CommandTraits.ConflictsWithExclusiveAccess) != 0)
            || ((conflicts & Scsi.Conflicts.Reserve6) != 0 && (traits & CommandTraits.ConflictsWithReserve6) != 0);
}
