using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>The REGISTER AND MOVE service action of PERSISTENT RESERVE OUT (SPC-4, sections 5.13.8 and 6.16.4). Under the unit's lock.</summary>
internal static unsafe class RegisterAndMove
{
    private const int HeaderLengthBytes = 24;
    private const int FlagsField = 17;
    private const byte UnregisterBit = 0x02;
    private const byte AptplBit = 0x01;

    /// <summary>Checks the parameter list; if it does not pass, the task is done.</summary>
    public static bool Check(ReadOnlySpan<byte> list, bool canPersist, ScsiTask* task)
    {
        if (list.Length < HeaderLengthBytes + TransportId.LengthBytes
            || BinaryPrimitives.ReadUInt32BigEndian(list[20..]) != (uint)(list.Length - HeaderLengthBytes))
        {
            TaskResult.ParameterListLengthError(task);
            return false;
        }

        if (list[16] != 0)
        {
            TaskResult.InvalidParameter(task, 16);
            return false;
        }

        if ((list[FlagsField] & 0xFC) != 0)
        {
            TaskResult.InvalidParameter(task, FlagsField, 7);
            return false;
        }

        if ((list[FlagsField] & AptplBit) != 0 && !canPersist)
        {
            TaskResult.InvalidParameter(task, FlagsField, 0);
            return false;
        }

        return true;
    }

    /// <summary>Executes it for a nexus that is registered with the key that it gave.</summary>
    public static void Execute(Reservations reservations, ItlNexus nexus, Registration mine, ReadOnlySpan<byte> list, ScsiTask* task)
    {
        if (!reservations.Holds(mine) || reservations.IsHeldByAll)
        {
            TaskResult.WithStatus(task, ScsiStatus.ReservationConflict);
            return;
        }

        var key = BinaryPrimitives.ReadUInt64BigEndian(list[8..]);
        if (key == 0)
        {
            TaskResult.InvalidParameter(task, 8);
            return;
        }

        var portId = BinaryPrimitives.ReadUInt16BigEndian(list[18..]);
        if (reservations.Unit.Nexuses.All(other => other.Target.RelativePortId != portId))
        {
            TaskResult.InvalidParameter(task, 18);
            return;
        }

        // A target port has one initiator here, so its name must be that one's; and it is somebody else.
        var destination = TransportId.TryRead(list[HeaderLengthBytes..], out var initiator)
            ? reservations.Unit.Nexuses.FirstOrDefault(other => other.Target.RelativePortId == portId && other.Target.InitiatorNaa == initiator)
            : null;
        if (list.Length != HeaderLengthBytes + TransportId.LengthBytes || destination is null || destination == nexus)
        {
            TaskResult.InvalidParameter(task, HeaderLengthBytes);
            return;
        }

        var theirs = reservations.Find(destination);
        if (theirs is null)
        {
            if (!reservations.HasRoomFor(1))
            {
                TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.InsufficientRegistrationResources);
                return;
            }

            theirs = reservations.Add(destination, key);
        }

        theirs.Key = key;
        reservations.SetReservation(reservations.Type, theirs);
        if ((list[FlagsField] & UnregisterBit) != 0)
        {
            reservations.Registered.Remove(mine);
        }

        reservations.IsPersistent = (list[FlagsField] & AptplBit) != 0;
        reservations.Generation++;
        TaskResult.Good(task, (ulong)list.Length);
    }
}
