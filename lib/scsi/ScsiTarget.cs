using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>
/// A SCSI target device with one target port, seen by one initiator. Its logical units are attached before it is used; their bdevs come and go.
/// Attaching and disposing on control threads; <see cref="Find"/> on any thread.
/// </summary>
public sealed class ScsiTarget : IDisposable
{
    /// <summary>The number of logical units that a target may have: what REPORT LUNS fits in a response.</summary>
    public const int MaxLogicalUnits = 256;

    private readonly LogicalUnitRegistry _registry;
    private ItlNexus?[] _nexuses = [];

    /// <summary>Creates a target without logical units.</summary>
    /// <param name="registry">Where targets of the process share logical units.</param>
    /// <param name="portName">Names the target port uniquely and stably: <c>vhost.0:3</c>.</param>
    /// <param name="initiatorName">Names the initiator port uniquely and stably: <c>vhost.0</c>.</param>
    /// <param name="identitySalt">
    /// Tells bdevs that have neither UUID nor serial number apart from those of the same name on other machines: the machine's id. It is part of the
    /// identity that guests see, so it stays the same across restarts, and is the same at all targets that share a bdev.
    /// </param>
    /// <param name="store">Where persistent reservations outlive a loss of power, the same at all targets that share a bdev; null: they do not.</param>
    public ScsiTarget(LogicalUnitRegistry registry, string portName, string initiatorName, string identitySalt, ReservationStore? store = null)
    {
        ArgumentNullException.ThrowIfNull(registry);
        Store = store;
        _registry = registry;
        IdentitySalt = identitySalt;
        PortName = portName;
        InitiatorName = initiatorName;
        PortNaa = LogicalUnitIdentity.LocallyAssignedNaa("target port:" + portName);
        InitiatorNaa = LogicalUnitIdentity.LocallyAssignedNaa("initiator port:" + initiatorName);
        RelativePortId = registry.AllocatePortId();
    }

    /// <summary>The target port's name.</summary>
    public string PortName { get; }

    /// <summary>The initiator port's name.</summary>
    public string InitiatorName { get; }

    /// <summary>The relative target port identifier.</summary>
    public ushort RelativePortId { get; }

    internal string IdentitySalt { get; }

    internal ReservationStore? Store { get; }

    internal ulong PortNaa { get; }

    internal ulong InitiatorNaa { get; }

    /// <summary>The nexuses by LUN; null where there is none.</summary>
    internal ReadOnlySpan<ItlNexus?> Nexuses => _nexuses;

    /// <summary>Adds a logical unit.</summary>
    /// <param name="lun">Its number, below <see cref="MaxLogicalUnits"/> and not in use.</param>
    /// <param name="port">Its bdev, there already or not.</param>
    /// <param name="listener">Is told of changes.</param>
    /// <exception cref="ArgumentException">The number is in use, or the bdev is in use by a target with another salt.</exception>
    public ItlNexus Attach(ushort lun, IBdevPort port, ILogicalUnitListener? listener)
    {
        ArgumentNullException.ThrowIfNull(port);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(lun, MaxLogicalUnits);
        if (Find(lun) is not null)
        {
            throw new ArgumentException($"LUN {lun} of {PortName} is in use", nameof(lun));
        }

        var nexuses = new ItlNexus?[Math.Max(_nexuses.Length, lun + 1)];
        _nexuses.CopyTo(nexuses, 0);
        var nexus = _registry.Attach(this, lun, port, listener);
        nexuses[lun] = nexus;
        Volatile.Write(ref _nexuses, nexuses);
        return nexus;
    }

    /// <summary>The nexus of a logical unit, whether or not its bdev is there; null if there is no such unit.</summary>
    /// <param name="lun">The logical unit number.</param>
    public ItlNexus? Find(int lun)
    {
        var nexuses = Volatile.Read(ref _nexuses);
        return (uint)lun < (uint)nexuses.Length ? nexuses[lun] : null;
    }

    /// <summary>Whether any logical unit has a bdev now. Any thread.</summary>
    public bool HasPresentUnit
    {
        get
        {
            foreach (var nexus in Volatile.Read(ref _nexuses))
            {
                if (nexus is { Unit.IsPresent: true })
                {
                    return true;
                }
            }

            return false;
        }
    }

    /// <summary>The initiator was reset or replaced: as after power on, for it alone. Any thread.</summary>
    public void OnPowerOn() => LoseNexus(UnitAttentions.PowerOn);

    /// <summary>I_T NEXUS RESET (SAM-5, section 7.4). The caller has aborted the initiator's tasks. Any thread.</summary>
    public void OnNexusReset() => LoseNexus(UnitAttentions.NexusLoss);

    /// <summary>Removes the logical units. Idempotent; no command is under way.</summary>
    public void Dispose()
    {
        foreach (var nexus in Interlocked.Exchange(ref _nexuses, []))
        {
            if (nexus is not null)
            {
                _registry.Detach(nexus);
            }
        }
    }

    /// <summary>Establishes a condition for the target's other logical units. Any thread.</summary>
    internal void EstablishForOthers(UnitAttentions condition, ItlNexus except)
    {
        foreach (var nexus in Volatile.Read(ref _nexuses))
        {
            if (nexus != except)
            {
                nexus?.Establish(condition);
            }
        }
    }

    private void LoseNexus(UnitAttentions condition)
    {
        foreach (var nexus in Volatile.Read(ref _nexuses))
        {
            nexus?.Unit.OnNexusLoss(nexus, condition);
        }
    }
}
