using Microsoft.Extensions.Logging;
using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>
/// The logical units of a process, by bdev name: targets that use the same bdev get the same unit. Any control thread.
/// </summary>
public sealed class LogicalUnitRegistry
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, LogicalUnit> _units = new(StringComparer.Ordinal);
    private readonly Dictionary<string, ReservationStore> _stores = new(StringComparer.Ordinal);
    private ushort _lastPortId;

    /// <summary>The store of a directory: one for all targets of the process.</summary>
    /// <param name="directory">The directory.</param>
    /// <param name="logger">Is told when something cannot be kept.</param>
    /// <returns>The store. What is thrown is what <see cref="ReservationStore.Open(string, ILogger)"/> throws.</returns>
    public ReservationStore OpenStore(string directory, ILogger logger)
    {
        lock (_lock)
        {
            var path = Path.GetFullPath(directory);
            if (!_stores.TryGetValue(path, out var store))
            {
                store = ReservationStore.Open(path, logger);
                _stores.Add(path, store);
            }

            return store;
        }
    }

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
                unit = new LogicalUnit(port, target.IdentitySalt, target.Store);
                _units.Add(port.Name, unit);
            }
            else if (unit.IdentitySalt != target.IdentitySalt)
            {
                throw new ArgumentException($"bdev {port.Name} has two identities: '{unit.IdentitySalt}' elsewhere and '{target.IdentitySalt}' at {target.PortName}", nameof(target));
            }
            else if (unit.Store != target.Store)
            {
                throw new ArgumentException(
                    $"bdev {port.Name} keeps its reservations in two places: '{unit.Store?.Directory ?? "nowhere"}' elsewhere and '{target.Store?.Directory ?? "nowhere"}' at {target.PortName}",
                    nameof(target));
            }

            var nexus = new ItlNexus(target, lun, unit, port, listener);
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
