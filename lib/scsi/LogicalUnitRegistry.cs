using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>
/// The logical units of a process, by bdev name: targets that use the same bdev get the same unit. Any control thread.
/// </summary>
/// <param name="identitySalt">
/// Tells bdevs that have neither UUID nor serial number apart from those of the same name on other machines: the machine's id. It is part of the
/// identity that guests see, so it stays the same across restarts.
/// </param>
public sealed class LogicalUnitRegistry(string identitySalt)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, LogicalUnit> _units = new(StringComparer.Ordinal);
    private ushort _lastPortId;

    /// <summary>A relative target port identifier that no other target of the process has (SPC-4, section 4.7.3).</summary>
    internal ushort AllocatePortId()
    {
        lock (_lock)
        {
            return ++_lastPortId == 0 ? ++_lastPortId : _lastPortId;
        }
    }

    internal ItlNexus Attach(ScsiTarget target, ushort lun, IBdevPort port, ILogicalUnitListener? listener)
    {
        lock (_lock)
        {
            if (!_units.TryGetValue(port.Name, out var unit))
            {
                unit = new LogicalUnit(port, identitySalt);
                _units.Add(port.Name, unit);
            }

            var nexus = new ItlNexus(target, lun, unit, listener);
            nexus.Establish(UnitAttentions.PowerOn);
            unit.Attach(nexus);
            return nexus;
        }
    }

    internal void Detach(ItlNexus nexus)
    {
        lock (_lock)
        {
            if (nexus.Unit.Detach(nexus))
            {
                _units.Remove(nexus.Unit.Port.Name);
                nexus.Unit.Close();
            }
        }
    }
}
