using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>Sense data in the two formats that there are (SPC-4, sections 4.5.2 and 4.5.3).</summary>
public static class SenseData
{
    /// <summary>Length of fixed-format sense data.</summary>
    public const int FixedLengthBytes = 18;

    /// <summary>Writes sense data.</summary>
    /// <param name="destination">At least <see cref="SenseBytes.LengthBytes"/> bytes.</param>
    /// <param name="descriptorFormat">Descriptor format; else fixed.</param>
    /// <param name="key">The sense key.</param>
    /// <param name="additional">Additional sense code and qualifier.</param>
    /// <param name="information">The INFORMATION field, or null. Fixed format leaves out what does not fit in 32 bits.</param>
    /// <param name="specific">What goes with the sense key.</param>
    /// <param name="commandSpecific">The COMMAND-SPECIFIC INFORMATION field, or null. Fixed format has its lower 32 bits.</param>
    /// <returns>The length that was written.</returns>
    public static int Write(
        Span<byte> destination,
        bool descriptorFormat,
        SenseKey key,
        AdditionalSense additional,
        ulong? information = null,
        SenseKeySpecific specific = default,
        ulong? commandSpecific = null)
        => descriptorFormat
            ? WriteDescriptors(destination, key, additional, information, specific, commandSpecific)
            : WriteFixed(destination, key, additional, information, specific, commandSpecific);

    private static int WriteFixed(Span<byte> destination, SenseKey key, AdditionalSense additional, ulong? information, SenseKeySpecific specific, ulong? commandSpecific)
    {
        var sense = destination[..FixedLengthBytes];
        sense.Clear();
        sense[0] = 0x70;
        sense[2] = (byte)key;
        if (information is <= uint.MaxValue)
        {
            sense[0] |= 0x80;
            BinaryPrimitives.WriteUInt32BigEndian(sense[3..], (uint)information.Value);
        }

        sense[7] = FixedLengthBytes - 8;
        BinaryPrimitives.WriteUInt32BigEndian(sense[8..], (uint)(commandSpecific ?? 0));
        BinaryPrimitives.WriteUInt16BigEndian(sense[12..], (ushort)additional);
        specific.CopyTo(sense[15..]);
        return FixedLengthBytes;
    }

    private static int WriteDescriptors(Span<byte> destination, SenseKey key, AdditionalSense additional, ulong? information, SenseKeySpecific specific, ulong? commandSpecific)
    {
        var sense = destination[..SenseBytes.LengthBytes];
        sense.Clear();
        sense[0] = 0x72;
        sense[1] = (byte)key;
        BinaryPrimitives.WriteUInt16BigEndian(sense[2..], (ushort)additional);
        var length = 8;
        if (information is { } value)
        {
            var descriptor = sense.Slice(length, 12);
            descriptor[0] = 0x00;
            descriptor[1] = 0x0A;
            descriptor[2] = 0x80;
            BinaryPrimitives.WriteUInt64BigEndian(descriptor[4..], value);
            length += 12;
        }

        if (commandSpecific is { } command)
        {
            var descriptor = sense.Slice(length, 12);
            descriptor[0] = 0x01;
            descriptor[1] = 0x0A;
            BinaryPrimitives.WriteUInt64BigEndian(descriptor[4..], command);
            length += 12;
        }

        if (specific.IsValid)
        {
            var descriptor = sense.Slice(length, 8);
            descriptor[0] = 0x02;
            descriptor[1] = 0x06;
            specific.CopyTo(descriptor[4..]);
            length += 8;
        }

        sense[7] = (byte)(length - 8);
        return length;
    }
}
