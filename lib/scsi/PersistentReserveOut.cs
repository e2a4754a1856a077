using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>
/// PERSISTENT RESERVE OUT (SPC-4, section 6.16). Not offered, and refused: REGISTER AND MOVE, persistence through power loss
/// (APTPL), registering other ports (SPEC_I_PT, ALL_TG_PT).
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

    private const int ListLengthBytes = 24;

    // What READ FULL STATUS fits into a response.
    private const int MaxRegistrations = 128;

    /// <summary>Executes the command; the task's results are set.</summary>
    /// <returns>What the command waits for before it is done, or null.</returns>
    public static TaskAbortion? Execute(ItlNexus nexus, ScsiTask* task)
    {
        var cdb = ScsiTask.CdbOf(task);
        if (BinaryPrimitives.ReadUInt32BigEndian(cdb[5..]) != ListLengthBytes)
        {
            TaskResult.ParameterListLengthError(task);
            return null;
        }

        Span<byte> list = stackalloc byte[ListLengthBytes];
        if (!Transfers.FetchParameters(task, list))
        {
            return null;
        }

        foreach (var bit in (ReadOnlySpan<int>)[3, 2, 0])
        {
            if ((list[20] & (1 << bit)) != 0)
            {
                TaskResult.InvalidParameter(task, 20, bit);
                return null;
            }
        }

        lock (nexus.Unit.SharedLock)
        {
            var preempted = ExecuteLocked(nexus, task, list);
            nexus.Unit.Reservations.Recompute();
            return (cdb[1] & 0x1F) == PreemptAndAbort && preempted.Length > 0 ? FindTasks(nexus, preempted) : null;
        }
    }

    private static Registration[] ExecuteLocked(ItlNexus nexus, ScsiTask* task, ReadOnlySpan<byte> list)
    {
        var serviceAction = task->Cdb[1] & 0x1F;
        var key = BinaryPrimitives.ReadUInt64BigEndian(list);
        var serviceActionKey = BinaryPrimitives.ReadUInt64BigEndian(list[8..]);
        var reservations = nexus.Unit.Reservations;
        var mine = reservations.Find(nexus);
        var isRegistering = serviceAction is Register or RegisterAndIgnoreExistingKey;
        var hasKey = isRegistering
            ? serviceAction == RegisterAndIgnoreExistingKey || key == (mine?.Key ?? 0)
            : mine is not null && mine.Key == key;
        if (reservations.IsReserved6 || !hasKey)
        {
            TaskResult.WithStatus(task, ScsiStatus.ReservationConflict);
            return [];
        }

        TaskResult.Good(task, ListLengthBytes);
        if (isRegistering)
        {
            SetKey(reservations, nexus, mine, serviceActionKey, task);
            return [];
        }

        switch (serviceAction)
        {
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

    private static TaskAbortion? FindTasks(ItlNexus by, Registration[] preempted)
    {
        var nexuses = by.Unit.Nexuses.Where(nexus => nexus != by && preempted.Any(registration => registration.IsOf(nexus))).ToArray();
        return nexuses.Length == 0 ? null : new TaskAbortion(nexuses);
    }

    private static void SetKey(Reservations reservations, ItlNexus nexus, Registration? mine, ulong key, ScsiTask* task)
    {
        if (mine is null)
        {
            if (key == 0)
            {
                return;
            }

            if (reservations.Registered.Count == MaxRegistrations)
            {
                TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.InsufficientRegistrationResources);
                return;
            }

            reservations.Registered.Add(new Registration(nexus.Target.InitiatorNaa, nexus.Target.PortNaa, nexus.Target.RelativePortId, key));
        }
        else if (key != 0)
        {
            mine.Key = key;
        }
        else
        {
            Unregister(reservations, nexus, mine);
        }

        reservations.Generation++;
    }

    private static void Unregister(Reservations reservations, ItlNexus nexus, Registration mine)
    {
        var held = reservations.Holds(mine);
        var wasForRegistrants = reservations.IncludesRegistrants;
        reservations.Registered.Remove(mine);

        // A reservation that all registrants hold stays as long as one is left.
        if (held && (!reservations.IsHeldByAll || reservations.Registered.Count == 0))
        {
            reservations.SetReservation(ReservationType.None, null);
            if (wasForRegistrants)
            {
                reservations.Tell(reservations.Registered, UnitAttentions.ReservationsReleased, nexus);
            }
        }
    }

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
