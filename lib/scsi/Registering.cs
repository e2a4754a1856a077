using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>
/// The REGISTER and REGISTER AND IGNORE EXISTING KEY service actions of PERSISTENT RESERVE OUT (SPC-4, section 5.13.7). Under the unit's lock.
/// With ALL_TG_PT the initiator is registered at all target ports through which it sees the unit, as if it had sent the command through each; with SPEC_I_PT
/// other initiators are registered with it.
/// </summary>
internal static unsafe class Registering
{
    private const int HeaderLengthBytes = 24;
    private const int TransportIdsField = HeaderLengthBytes + 4;
    private const int FlagsField = 20;
    private const byte SpecifyInitiatorsBit = 0x08;
    private const byte AllTargetPortsBit = 0x04;
    private const byte AptplBit = 0x01;

    public static void Execute(Reservations reservations, ItlNexus nexus, bool ignoresKey, ReadOnlySpan<byte> list, ScsiTask* task)
    {
        var key = BinaryPrimitives.ReadUInt64BigEndian(list);
        var newKey = BinaryPrimitives.ReadUInt64BigEndian(list[8..]);
        var atAllPorts = (list[FlagsField] & AllTargetPortsBit) != 0;
        ItlNexus[] mine = atAllPorts
            ? [.. reservations.Unit.Nexuses.Where(other => other.Target.InitiatorNaa == nexus.Target.InitiatorNaa)]
            : [nexus];
        if (!ignoresKey && mine.Any(one => (reservations.Find(one)?.Key ?? 0) != key))
        {
            TaskResult.WithStatus(task, ScsiStatus.ReservationConflict);
            return;
        }

        var others = new List<ReservationRecord.Entry>();
        if ((list[FlagsField] & SpecifyInitiatorsBit) != 0 && !TryFindOthers(reservations, nexus, mine, newKey, list, others, task))
        {
            return;
        }

        if (newKey != 0 && !reservations.HasRoomFor(mine.Count(one => reservations.Find(one) is null) + others.Count))
        {
            TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.InsufficientRegistrationResources);
            return;
        }

        var hasChanged = others.Count > 0;
        foreach (var one in mine)
        {
            hasChanged |= SetKey(reservations, one, newKey);
        }

        foreach (var other in others)
        {
            reservations.Registered.Add(new Registration(other));
        }

        reservations.IsPersistent = (list[FlagsField] & AptplBit) != 0;
        if (hasChanged)
        {
            reservations.Generation++;
        }

        TaskResult.Good(task, (ulong)list.Length);
    }

    private static bool TryFindOthers(
        Reservations reservations,
        ItlNexus nexus,
        ItlNexus[] mine,
        ulong newKey,
        ReadOnlySpan<byte> list,
        List<ReservationRecord.Entry> others,
        ScsiTask* task)
    {
        // Only a nexus that is not registered yet may bring others with it (SPC-4, table 61).
        if (newKey == 0 || mine.Any(one => reservations.Find(one) is not null))
        {
            TaskResult.InvalidParameter(task, FlagsField, 3);
            return false;
        }

        for (var position = TransportIdsField; position < list.Length; position += TransportId.LengthBytes)
        {
            if (!TransportId.TryRead(list[position..], out var initiator)
                || reservations.Unit.Nexuses.All(other => other.Target.InitiatorNaa != initiator))
            {
                TaskResult.InvalidParameter(task, position);
                return false;
            }

            var ports = (list[FlagsField] & AllTargetPortsBit) != 0
                ? reservations.Unit.Nexuses.Select(other => other.Target)
                : [nexus.Target];
            foreach (var port in ports)
            {
                var entry = new ReservationRecord.Entry(initiator, port.PortNaa, port.RelativePortId, newKey);
                var isKnown = reservations.Registered.Exists(one => one.InitiatorNaa == initiator && one.PortNaa == port.PortNaa)
                    || others.Contains(entry)
                    || Array.Exists(mine, one => one.Target.InitiatorNaa == initiator && one.Target.PortNaa == port.PortNaa);
                if (!isKnown)
                {
                    others.Add(entry);
                }
            }
        }

        return true;
    }

    private static bool SetKey(Reservations reservations, ItlNexus nexus, ulong key)
    {
        var mine = reservations.Find(nexus);
        if (mine is null)
        {
            if (key == 0)
            {
                return false;
            }

            reservations.Add(nexus, key);
        }
        else if (key != 0)
        {
            mine.Key = key;
        }
        else
        {
            Unregister(reservations, nexus, mine);
        }

        return true;
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
}
