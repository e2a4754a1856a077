using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>
/// A logical unit: the bdev behind a port as all its initiators see it. Targets that use one bdev share one logical unit, and with it mode
/// parameters, reservations and identity. The state is read on any thread; changes are serialised by a lock that no data path takes.
/// </summary>
public sealed class LogicalUnit : IBdevObserver
{
    private readonly Lock _lock = new();
    private readonly List<ItlNexus> _nexuses = [];
    private readonly IDisposable _subscription;
    private ModeParameters _mode;
    private bool _isStopped;
    private volatile LogicalUnitState? _state;
    private ulong _lastNaa;

    internal LogicalUnit(IBdevPort port, string identitySalt, ReservationStore? store)
    {
        Port = port;
        IdentitySalt = identitySalt;
        Store = store;
        Reservations = new Reservations(this);
        Rebuild();
        _subscription = port.Subscribe(this);

        // What changed between the first look and the subscription.
        lock (_lock)
        {
            Rebuild();
        }
    }

    /// <summary>The bdev's place.</summary>
    public IBdevPort Port { get; }

    /// <summary>Whether there is a bdev now.</summary>
    public bool IsPresent => _state is not null;

    /// <summary>What the data path needs to know; null while there is no bdev.</summary>
    internal LogicalUnitState? State => _state;

    internal string IdentitySalt { get; }

    internal Reservations Reservations { get; }

    /// <summary>Where persistent reservations outlive a loss of power; null: nowhere.</summary>
    internal ReservationStore? Store { get; }

    internal UnitLog Log { get; } = new();

    /// <summary>Guards all that is shared by the nexuses.</summary>
    internal Lock SharedLock => _lock;

    /// <summary>The nexuses; under <see cref="SharedLock"/> only.</summary>
    internal IReadOnlyList<ItlNexus> Nexuses => _nexuses;

    /// <inheritdoc/>
    public void OnBdevChanged(IBdevPort port, BdevChange change)
    {
        ItlNexus[] nexuses;
        lock (_lock)
        {
            if (change == BdevChange.Appeared)
            {
                // Another medium may be behind the name now.
                RestoreMode();
                _isStopped = false;
            }

            Rebuild();
            EstablishForAll(change switch
            {
                BdevChange.Appeared => UnitAttentions.PowerOn,
                BdevChange.Resized => UnitAttentions.CapacityChanged,
                BdevChange.Changed => UnitAttentions.InquiryDataChanged,
                _ => UnitAttentions.None,
            });
            nexuses = [.. _nexuses];
            if (change is BdevChange.Appeared or BdevChange.Removed)
            {
                foreach (var nexus in nexuses)
                {
                    nexus.Target.EstablishForOthers(UnitAttentions.ReportedLunsChanged, nexus);
                }
            }
        }

        foreach (var nexus in nexuses)
        {
            nexus.Listener?.OnLogicalUnitChanged(nexus, change);
        }
    }

    internal void Attach(ItlNexus nexus)
    {
        lock (_lock)
        {
            _nexuses.Add(nexus);
            Reservations.Recompute();
        }
    }

    /// <returns>Whether no nexus is left.</returns>
    internal bool Detach(ItlNexus nexus)
    {
        lock (_lock)
        {
            _nexuses.Remove(nexus);
            Reservations.OnNexusGone(nexus);
            return _nexuses.Count == 0;
        }
    }

    internal void Close() => _subscription.Dispose();

    /// <summary>Changes some mode parameters; the other nexuses are told by a unit attention (SPC-4, section 6.12).</summary>
    internal void SetMode(ItlNexus by, ModeParameters values, ModeFields fields)
    {
        lock (_lock)
        {
            var mode = _mode.With(values, fields);
            if (_mode == mode)
            {
                return;
            }

            _mode = mode;
            Rebuild();
            EstablishForAll(UnitAttentions.ModeParametersChanged, except: by);
        }
    }

    internal void SetStopped(bool isStopped)
    {
        lock (_lock)
        {
            if (_isStopped && !isStopped)
            {
                Log.CountStart();
            }

            _isStopped = isStopped;
            Rebuild();
        }
    }

    /// <summary>
    /// LOGICAL UNIT RESET (SAM-5, section 6.3.3): volatile settings return to their defaults, and every nexus is told by a unit attention. The
    /// caller has aborted its initiator's tasks; those of others complete. Any thread.
    /// </summary>
    public void Reset()
    {
        lock (_lock)
        {
            RestoreMode();
            _isStopped = false;
            Reservations.OnLogicalUnitReset();
            _nexuses.ForEach(nexus => nexus.Copies.Forget());
            Rebuild();
            EstablishForAll(UnitAttentions.BusDeviceReset);
        }
    }

    /// <summary>An initiator was reset or went away: what it alone held is let go, and what others set is left alone.</summary>
    internal void OnNexusLoss(ItlNexus nexus, UnitAttentions condition)
    {
        lock (_lock)
        {
            Reservations.OnNexusLoss(nexus);
            nexus.Copies.Forget();
            nexus.Clear(UnitAttentions.All);
            nexus.Establish(condition);
            if (_isStopped)
            {
                // An initiator that stopped the unit before it went down expects it to be running when it comes up.
                _isStopped = false;
                Rebuild();
            }
        }
    }

    /// <summary>Establishes conditions for all nexuses but one. Under <see cref="SharedLock"/> or before the unit is shared.</summary>
    internal void EstablishForAll(UnitAttentions conditions, ItlNexus? except = null)
    {
        if (conditions == UnitAttentions.None)
        {
            return;
        }

        foreach (var nexus in _nexuses)
        {
            if (nexus != except)
            {
                nexus.Establish(conditions);
            }
        }
    }

    // A write cache that was switched off stays off: initiators that know it as off do not flush, and do not look again after a reset.
    private void RestoreMode() => _mode = default(ModeParameters).With(_mode, ModeFields.Caching);

    private void Rebuild()
    {
        var info = Port.Info;
        if (info is null)
        {
            _state = null;
            return;
        }

        var identity = new LogicalUnitIdentity(Port.Name, info, IdentitySalt);
        if (identity.Naa != _lastNaa)
        {
            // Reservations belong to a unit, not to the place where it is: before it can be reached, those that were kept of it hold.
            _lastNaa = identity.Naa;
            Reservations.Restore(Store?.Find(identity.Naa));
        }

        _state = new LogicalUnitState(info, identity, _mode, _isStopped);
    }

    /// <summary>Keeps the persistent reservations. Under <see cref="SharedLock"/>, with a store.</summary>
    internal Task SaveReservations() => Store!.SaveAsync(Reservations.ToRecord(_lastNaa));
}
