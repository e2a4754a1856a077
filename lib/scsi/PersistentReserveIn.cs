using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>PERSISTENT RESERVE IN (SPC-4, section 6.15).</summary>
internal static unsafe class PersistentReserveIn
{
    public const int ReadKeys = 0;
    public const int ReadReservation = 1;
    public const int ReportCapabilities = 2;
    public const int ReadFullStatus = 3;

    private const byte SerialAttachedScsi = 0x06;

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
                ReportCapabilities => WriteCapabilities(buffer),
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

    private static int WriteCapabilities(byte[] buffer)
    {
        // TMV: the type mask is valid, and all six types are there.
        ReadOnlySpan<byte> data = [0x00, 0x08, 0x00, 0x80, 0xEA, 0x01, 0x00, 0x00];
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

            BinaryPrimitives.WriteUInt16BigEndian(descriptor[18..], registration.RelativePortId);
            BinaryPrimitives.WriteUInt32BigEndian(descriptor[20..], 24);

            // A TransportID in the form that holds an NAA name (SPC-4, section 7.6.4.8).
            descriptor[24] = SerialAttachedScsi;
            BinaryPrimitives.WriteUInt64BigEndian(descriptor[28..], registration.InitiatorNaa);
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
