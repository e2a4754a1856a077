namespace Vhost.Scsi;

/// <summary>Who may do what with a logical unit that is reserved. All members under <see cref="LogicalUnit.SharedLock"/> unless they say that they take it.</summary>
internal sealed unsafe class Reservations(LogicalUnit unit)
{
    private ItlNexus? _reserve6Holder;

    /// <summary>RESERVE(6) (SPC-2, section 7.21). Takes the lock. A conflict was found before.</summary>
    public ScsiAction Reserve6(ItlNexus nexus, ScsiTask* task)
    {
        lock (unit.SharedLock)
        {
            if (_reserve6Holder is not null && _reserve6Holder != nexus)
            {
                return TaskResult.WithStatus(task, ScsiStatus.ReservationConflict);
            }

            _reserve6Holder = nexus;
            Recompute();
            return TaskResult.Good(task);
        }
    }

    /// <summary>RELEASE(6) (SPC-2, section 7.16): without effect for who holds nothing. Takes the lock.</summary>
    public ScsiAction Release6(ItlNexus nexus, ScsiTask* task)
    {
        lock (unit.SharedLock)
        {
            OnNexusLoss(nexus);
            return TaskResult.Good(task);
        }
    }

    public void OnNexusGone(ItlNexus nexus) => OnNexusLoss(nexus);

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

    /// <summary>Tells each nexus what it may not do.</summary>
    public void Recompute()
    {
        foreach (var nexus in unit.Nexuses)
        {
            nexus.SetConflicts(_reserve6Holder is not null && _reserve6Holder != nexus ? Conflicts.Reserve6 : Conflicts.None);
        }
    }
}
