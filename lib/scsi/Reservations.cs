namespace Vhost.Scsi;

/// <summary>
/// Who may do what with a logical unit that is reserved: by RESERVE(6) of SPC-2 or persistently (SPC-4, section 5.13), never by both.
/// All members under <see cref="LogicalUnit.SharedLock"/> unless they say that they take it.
/// </summary>
internal sealed unsafe class Reservations(LogicalUnit unit)
{
    // What READ FULL STATUS fits into a response.
    private const int MaxRegistrations = 128;

    private ItlNexus? _reserve6Holder;

    /// <summary>The registrations, in the order in which they came.</summary>
    public List<Registration> Registered { get; } = [];

    /// <summary>Counts changes of registrations (PRGENERATION).</summary>
    public uint Generation { get; set; }

    /// <summary>The type of the persistent reservation; none if there is none.</summary>
    public ReservationType Type { get; private set; }

    /// <summary>Who holds it; null where all registrants do.</summary>
    public Registration? Holder { get; private set; }

    public LogicalUnit Unit => unit;

    /// <summary>Whether registrations and reservation persist through a loss of power: what APTPL said in the last registration.</summary>
    public bool IsPersistent { get; set; }

    /// <summary>Whether all registrants hold the reservation.</summary>
    public bool IsHeldByAll => Type is ReservationType.WriteExclusiveAllRegistrants or ReservationType.ExclusiveAccessAllRegistrants;

    /// <summary>Whether those that are registered may do what the holder may.</summary>
    public bool IncludesRegistrants => Type >= ReservationType.WriteExclusiveRegistrantsOnly;

    /// <summary>Whether a reservation of SPC-2 keeps persistent ones out.</summary>
    public bool IsReserved6 => _reserve6Holder is not null;

    /// <summary>RESERVE(6) and (10) (SPC-2, sections 7.20 and 7.21), of the whole unit only. Takes the lock.</summary>
    public ScsiAction Reserve6(ItlNexus nexus, ScsiTask* task)
    {
        lock (unit.SharedLock)
        {
            if ((_reserve6Holder is not null && _reserve6Holder != nexus) || Registered.Count > 0)
            {
                return TaskResult.WithStatus(task, ScsiStatus.ReservationConflict);
            }

            _reserve6Holder = nexus;
            Recompute();
            return TaskResult.Good(task);
        }
    }

    /// <summary>RELEASE(6) and (10) (SPC-2, sections 7.15 and 7.16): without effect for who holds nothing. Takes the lock.</summary>
    public ScsiAction Release6(ItlNexus nexus, ScsiTask* task)
    {
        lock (unit.SharedLock)
        {
            if (Registered.Count > 0)
            {
                return TaskResult.WithStatus(task, ScsiStatus.ReservationConflict);
            }

            OnNexusLoss(nexus);
            return TaskResult.Good(task);
        }
    }

    /// <summary>The nexus is no more. What it registered stays.</summary>
    public void OnNexusGone(ItlNexus nexus) => OnNexusLoss(nexus);

    /// <summary>The initiator was reset or went away. Persistent reservations are made to survive that.</summary>
    public void OnNexusLoss(ItlNexus nexus)
    {
        if (_reserve6Holder == nexus)
        {
            _reserve6Holder = null;
            Recompute();
        }
    }

    public void OnLogicalUnitReset()
    {
        _reserve6Holder = null;
        Recompute();
    }

    public bool HasRoomFor(int count) => count <= MaxRegistrations - Registered.Count;

    public Registration Add(ItlNexus nexus, ulong key)
    {
        var target = nexus.Target;
        var registration = new Registration(new(target.InitiatorNaa, target.PortNaa, target.RelativePortId, key));
        Registered.Add(registration);
        return registration;
    }

    /// <summary>The identifier that a registration's target port has now, or had.</summary>
    public ushort PortIdOf(Registration registration)
    {
        foreach (var nexus in unit.Nexuses)
        {
            if (nexus.Target.PortNaa == registration.PortNaa)
            {
                return nexus.Target.RelativePortId;
            }
        }

        return registration.RelativePortId;
    }

    /// <summary>What is to outlive a loss of power: nothing, unless the reservations persist.</summary>
    public ReservationRecord ToRecord(ulong naa) => IsPersistent
        ? new(naa, Type, Holder is null ? -1 : Registered.IndexOf(Holder), [.. Registered.Select(one => one.ToEntry())])
        : new(naa, ReservationType.None, -1, []);

    /// <summary>The power is back, or another unit takes this place: what was kept of it holds from now on, and nothing else.</summary>
    public void Restore(ReservationRecord? record)
    {
        Registered.Clear();
        Generation = 0;
        IsPersistent = record is not null;
        foreach (var entry in record?.Registrations ?? [])
        {
            Registered.Add(new Registration(entry));
        }

        SetReservation(record?.Type ?? ReservationType.None, record is { HolderIndex: >= 0 } ? Registered[record.HolderIndex] : null);
        Recompute();
    }

    public Registration? Find(ItlNexus nexus)
    {
        foreach (var registration in Registered)
        {
            if (registration.IsOf(nexus))
            {
                return registration;
            }
        }

        return null;
    }

    /// <summary>Whether a registrant holds the reservation, alone or with all others.</summary>
    public bool Holds(Registration registration) => Type != ReservationType.None && (IsHeldByAll || Holder == registration);

    /// <summary>Sets or takes away the persistent reservation.</summary>
    public void SetReservation(ReservationType type, Registration? holder)
    {
        Type = type;
        Holder = IsHeldByAll ? null : holder;
    }

    /// <summary>Establishes a unit attention for the nexuses of some registrations.</summary>
    public void Tell(IEnumerable<Registration> registrations, UnitAttentions condition, ItlNexus except)
    {
        foreach (var registration in registrations)
        {
            foreach (var nexus in unit.Nexuses)
            {
                if (nexus != except && registration.IsOf(nexus))
                {
                    nexus.Establish(condition);
                }
            }
        }
    }

    /// <summary>Tells each nexus what it may not do.</summary>
    public void Recompute()
    {
        foreach (var nexus in unit.Nexuses)
        {
            var conflicts = _reserve6Holder is not null && _reserve6Holder != nexus ? Conflicts.Reserve6 : Conflicts.None;
            if (Type != ReservationType.None)
            {
                var registration = Find(nexus);
                if (registration is null || (!IncludesRegistrants && !Holds(registration)))
                {
                    conflicts |= Conflicts.AnyReservation;
                    if (Type is ReservationType.ExclusiveAccess or ReservationType.ExclusiveAccessRegistrantsOnly or ReservationType.ExclusiveAccessAllRegistrants)
                    {
                        conflicts |= Conflicts.ExclusiveAccess;
                    }
                }
            }

            nexus.SetConflicts(conflicts);
        }
    }
}
