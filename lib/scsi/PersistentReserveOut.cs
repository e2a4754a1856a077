using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>
/// PERSISTENT RESERVE OUT (SPC-4, section 6.16). Persistence through power loss (APTPL) is there where the unit has a <see cref="ReservationStore"/>.
/// </summary>
internal static unsafe class PersistentReserveOut
{
    public const int Register = 0;
    public const int Reserve = 1;
    public const int Release = 2;
    public const int Clear = 3;
    public const int Preempt = 4;
    public const int PreemptAndAbort = 5;
    public const int RegisterAndIgnoreExistingKey = 6;
    public const int RegisterAndMoveReservation = 7;

    private const int ListLengthBytes = 24;
    private const int FlagsField = 20;

    /// <summary>Executes the command; the task's results are set.</summary>
    /// <returns>What the command waits for before it is done, or null.</returns>
    public static CommandWait? Execute(ItlNexus nexus, ScsiTask* task, byte[] buffer)
    {
        var cdb = ScsiTask.CdbOf(task);
        var serviceAction = cdb[1] & 0x1F;
        var length = BinaryPrimitives.ReadUInt32BigEndian(cdb[5..]);
        if (length < ListLengthBytes || length > (uint)buffer.Length)
        {
            TaskResult.ParameterListLengthError(task);
            return null;
        }

        var list = buffer.AsSpan(0, (int)length);
        if (!Transfers.FetchParameters(task, list))
        {
            return null;
        }

        var canPersist = nexus.Unit.Store is not null;
        if (!(serviceAction == RegisterAndMoveReservation ? RegisterAndMove.Check(list, canPersist, task) : CheckList(serviceAction, list, canPersist, task)))
        {
            return null;
        }

        lock (nexus.Unit.SharedLock)
        {
            var reservations = nexus.Unit.Reservations;
            var wasPersistent = reservations.IsPersistent;
            var preempted = ExecuteLocked(nexus, task, list);
            reservations.Recompute();
            var victims = serviceAction == PreemptAndAbort ? FindTasks(nexus, preempted) : [];
            var save = task->Status == ScsiStatus.Good && (wasPersistent || reservations.IsPersistent) ? nexus.Unit.SaveReservations() : null;
            return victims.Length == 0 && save is null ? null : new CommandWait(victims, save);
        }
    }

    private static bool CheckList(int serviceAction, ReadOnlySpan<byte> list, bool canPersist, ScsiTask* task)
    {
        var flags = list[FlagsField];
        var isRegistering = serviceAction is Register or RegisterAndIgnoreExistingKey;
        if ((flags & 0xF2) != 0)
        {
            TaskResult.InvalidParameter(task, FlagsField, 7);
        }
        else if (list[FlagsField + 1] != 0)
        {
            TaskResult.InvalidParameter(task, FlagsField + 1);
        }
        else if ((flags & 0x08) != 0 && serviceAction != Register)
        {
            // SPEC_I_PT
            TaskResult.InvalidParameter(task, FlagsField, 3);
        }
        else if ((flags & 0x01) != 0 && isRegistering && !canPersist)
        {
            // APTPL
            TaskResult.InvalidParameter(task, FlagsField, 0);
        }
        else if ((flags & 0x08) == 0
            ? list.Length != ListLengthBytes
            : list.Length < ListLengthBytes + 4
                || (list.Length - ListLengthBytes - 4) % TransportId.LengthBytes != 0
                || BinaryPrimitives.ReadUInt32BigEndian(list[ListLengthBytes..]) != (uint)(list.Length - ListLengthBytes - 4))
        {
            TaskResult.ParameterListLengthError(task);
        }
        else
        {
            return true;
        }

        return false;
    }

    private static Registration[] ExecuteLocked(ItlNexus nexus, ScsiTask* task, ReadOnlySpan<byte> list)
    {
        var serviceAction = task->Cdb[1] & 0x1F;
        var key = BinaryPrimitives.ReadUInt64BigEndian(list);
        var serviceActionKey = BinaryPrimitives.ReadUInt64BigEndian(list[8..]);
        var reservations = nexus.Unit.Reservations;
        var mine = reservations.Find(nexus);
        var isRegistering = serviceAction is Register or RegisterAndIgnoreExistingKey;
        if (reservations.IsReserved6 || (!isRegistering && (mine is null || mine.Key != key)))
        {
            TaskResult.WithStatus(task, ScsiStatus.ReservationConflict);
            return [];
        }

        TaskResult.Good(task, (ulong)list.Length);
        switch (serviceAction)
        {
            case Register:
            case RegisterAndIgnoreExistingKey:
                Registering.Execute(reservations, nexus, serviceAction == RegisterAndIgnoreExistingKey, list, task);
                return [];
            case RegisterAndMoveReservation:
                RegisterAndMove.Execute(reservations, nexus, mine!, list, task);
                return [];
            case Reserve:
                DoReserve(reservations, mine!, task);
                return [];
            case Release:
                DoRelease(reservations, nexus, mine!, task);
                return [];
            case Clear:
                DoClear(reservations, nexus);
                return [];
            default:
                return DoPreempt(reservations, nexus, mine!, serviceActionKey, task);
        }
    }

    private static ItlNexus[] FindTasks(ItlNexus by, Registration[] preempted)
        => [.. by.Unit.Nexuses.Where(nexus => nexus != by && preempted.Any(registration => registration.IsOf(nexus)))];

    private static void DoReserve(Reservations reservations, Registration mine, ScsiTask* task)
    {
        if (!TryGetType(task, out var type))
        {
            return;
        }

        if (reservations.Type == ReservationType.None)
        {
            reservations.SetReservation(type, mine);
        }
        else if (!reservations.Holds(mine) || reservations.Type != type)
        {
            TaskResult.WithStatus(task, ScsiStatus.ReservationConflict);
        }
    }

    private static void DoRelease(Reservations reservations, ItlNexus nexus, Registration mine, ScsiTask* task)
    {
        if (!reservations.Holds(mine))
        {
            // Nothing to release is no error (SPC-4, section 5.13.11.2).
            return;
        }

        if (task->Cdb[2] != (byte)reservations.Type)
        {
            TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.InvalidReleaseOfPersistentReservation);
            return;
        }

        var isForRegistrants = reservations.IncludesRegistrants;
        reservations.SetReservation(ReservationType.None, null);
        if (isForRegistrants)
        {
            reservations.Tell(reservations.Registered, UnitAttentions.ReservationsReleased, nexus);
        }
    }

    private static void DoClear(Reservations reservations, ItlNexus nexus)
    {
        reservations.Tell(reservations.Registered, UnitAttentions.ReservationsPreempted, nexus);
        reservations.SetReservation(ReservationType.None, null);
        reservations.Registered.Clear();
        reservations.Generation++;
    }

    // SPC-4, section 5.13.11.4 and figure 9.
    private static Registration[] DoPreempt(Reservations reservations, ItlNexus nexus, Registration mine, ulong victimKey, ScsiTask* task)
    {
        if (!TryGetType(task, out var type))
        {
            return [];
        }

        var takesAll = reservations.IsHeldByAll && victimKey == 0;
        if (victimKey == 0 && !takesAll)
        {
            TaskResult.InvalidParameter(task, 8);
            return [];
        }

        var takesReservation = takesAll || reservations.Holder?.Key == victimKey;
        var victims = reservations.Registered.Where(other => takesAll || other.Key == victimKey).ToArray();
        if (victims.Length == 0)
        {
            TaskResult.WithStatus(task, ScsiStatus.ReservationConflict);
            return [];
        }

        // Who preempts with the key that it has itself keeps its registration.
        var removed = victims.Where(victim => victim != mine).ToArray();
        foreach (var victim in removed)
        {
            reservations.Registered.Remove(victim);
        }

        reservations.Tell(removed, UnitAttentions.RegistrationsPreempted, nexus);
        if (takesReservation)
        {
            var former = reservations.Type;
            reservations.SetReservation(type, mine);
            if (former != type)
            {
                reservations.Tell(reservations.Registered, UnitAttentions.ReservationsReleased, nexus);
            }
        }

        reservations.Generation++;
        return removed;
    }

    private static bool TryGetType(ScsiTask* task, out ReservationType type)
    {
        // Scope in the upper half: only the logical unit's, 0.
        type = (ReservationType)task->Cdb[2];
        if (type != ReservationType.None && Enum.IsDefined(type))
        {
            return true;
        }

        TaskResult.InvalidCdb(task, 2, task->Cdb[2] > 0x0F ? 7 : 3);
        return false;
    }
}
