using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>PERSISTENT RESERVE IN (SPC-4, section 6.15).</summary>
internal static unsafe class PersistentReserveIn
{
    public const int ReadKeys = 0;
    public const int ReadReservation = 1;
    public const int ReportCapabilities = 2;
    public const int ReadFullStatus = 3;

    public static ScsiAction Execute(ItlNexus nexus, ScsiTask* task, byte[] buffer)
    {
        var cdb = ScsiTask.CdbOf(task);
        var reservations = nexus.Unit.Reservations;
        int length;
        lock (nexus.Unit.SharedLock)
        {
            length = (cdb[1] & 0x1F) switch
            {
                ReadKeys => WriteKeys(reservations, buffer),
                ReadReservation => WriteReservation(reservations, buffer),
                ReportCapabilities => WriteCapabilities(nexus.Unit, buffer),
                _ => WriteFullStatus(reservations, buffer),
            };
        }

        return TaskResult.SendData(task, buffer.AsSpan(0, length), BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]));
    }

    private static int WriteKeys(Reservations reservations, byte[] buffer)
    {
        var length = 8;
        foreach (var registration in reservations.Registered)
        {
            BinaryPrimitives.WriteUInt64BigEndian(buffer.AsSpan(length), registration.Key);
            length += 8;
        }

        return WriteHeader(reservations, buffer, length);
    }

    private static int WriteReservation(Reservations reservations, byte[] buffer)
    {
        if (reservations.Type == ReservationType.None)
        {
            return WriteHeader(reservations, buffer, 8);
        }

        var descriptor = buffer.AsSpan(8, 16);
        descriptor.Clear();

        // Where all registrants hold it, the key is 0.
        BinaryPrimitives.WriteUInt64BigEndian(descriptor, reservations.Holder?.Key ?? 0);
        descriptor[13] = (byte)reservations.Type;
        return WriteHeader(reservations, buffer, 24);
    }

    private static int WriteCapabilities(LogicalUnit unit, byte[] buffer)
    {
        // SIP_C and ATP_C, and PTPL_C where there is a store; TMV: the type mask is valid, and all six types are there; PTPL_A.
        ReadOnlySpan<byte> data =
        [
            0x00, 0x08, (byte)(0x0C | (unit.Store is null ? 0 : 0x01)), (byte)(0x80 | (unit.Reservations.IsPersistent ? 0x01 : 0)), 0xEA, 0x01, 0x00, 0x00,
        ];
        data.CopyTo(buffer);
        return data.Length;
    }

    private static int WriteFullStatus(Reservations reservations, byte[] buffer)
    {
        var length = 8;
        foreach (var registration in reservations.Registered)
        {
            var descriptor = buffer.AsSpan(length, 48);
            descriptor.Clear();
            BinaryPrimitives.WriteUInt64BigEndian(descriptor, registration.Key);
            if (reservations.Holds(registration))
            {
                descriptor[12] = 0x01; // R_HOLDER
                descriptor[13] = (byte)reservations.Type;
            }

            BinaryPrimitives.WriteUInt16BigEndian(descriptor[18..], reservations.PortIdOf(registration));
            BinaryPrimitives.WriteUInt32BigEndian(descriptor[20..], TransportId.LengthBytes);
            TransportId.Write(descriptor[24..], registration.InitiatorNaa);
            length += descriptor.Length;
        }

        return WriteHeader(reservations, buffer, length);
    }

    private static int WriteHeader(Reservations reservations, byte[] buffer, int length)
    {
        BinaryPrimitives.WriteUInt32BigEndian(buffer, reservations.Generation);
        BinaryPrimitives.WriteUInt32BigEndian(buffer.AsSpan(4), (uint)(length - 8));
        return length;
    }
}
