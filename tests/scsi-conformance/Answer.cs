using System.Buffers.Binary;

namespace Vhost.Scsi.Conformance;

/// <summary>How a command ended.</summary>
/// <param name="Status">The SCSI status; -1 if the command did not reach the unit or was not answered.</param>
/// <param name="Sense">The sense data.</param>
/// <param name="DataIn">What came back, without what was left of the room.</param>
/// <param name="Residual">What of the data was not used, in bytes.</param>
public sealed record Answer(int Status, byte[] Sense, byte[] DataIn, int Residual)
{
    private bool IsDescriptorFormat => Sense.Length > 7 && (Sense[0] & 0x7F) is 0x72 or 0x73;

    /// <summary>The sense key; 0 without sense data.</summary>
    public int Key => Sense.Length < 8 ? 0 : IsDescriptorFormat ? Sense[1] & 0x0F : Sense[2] & 0x0F;

    /// <summary>Additional sense code and qualifier.</summary>
    public int Additional => Sense.Length < 8 ? 0 : IsDescriptorFormat ? (Sense[2] << 8) | Sense[3] : Sense.Length < 14 ? 0 : (Sense[12] << 8) | Sense[13];

    /// <summary>The INFORMATION field, if it is valid.</summary>
    public ulong? Information
    {
        get
        {
            if (!IsDescriptorFormat)
            {
                return Sense.Length >= 7 && (Sense[0] & 0x80) != 0 ? BinaryPrimitives.ReadUInt32BigEndian(Sense.AsSpan(3)) : null;
            }

            var descriptor = Descriptor(0x00);
            return descriptor.Length >= 12 ? BinaryPrimitives.ReadUInt64BigEndian(descriptor[4..]) : null;
        }
    }

    /// <summary>The field pointer: byte, bit (-1 for the whole byte), and whether it is one into the CDB; null without one.</summary>
    public (int Byte, int Bit, bool IsInCdb)? Field
    {
        get
        {
            var descriptor = Descriptor(0x02);
            var specific = IsDescriptorFormat
                ? descriptor.Length >= 8 ? descriptor.Slice(4, 3) : default
                : Sense.Length >= 18 ? Sense.AsSpan(15, 3) : default;
            if (specific.Length < 3 || (specific[0] & 0x80) == 0)
            {
                return null;
            }

            return ((specific[1] << 8) | specific[2], (specific[0] & 0x08) != 0 ? specific[0] & 0x07 : -1, (specific[0] & 0x40) != 0);
        }
    }

    /// <inheritdoc/>
    public override string ToString()
        => $"status {Status:X2}" + (Sense.Length > 0 ? $", sense {Key:X}/{Additional:X4} field {Field} information {Information}" : "")
            + $", {DataIn.Length} bytes, residual {Residual}" + (DataIn.Length > 0 ? $": {Convert.ToHexString(DataIn.AsSpan(0, Math.Min(DataIn.Length, 48)))}" : "");

    private ReadOnlySpan<byte> Descriptor(byte type)
    {
        for (var at = 8; IsDescriptorFormat && at + 2 <= Sense.Length && at < 8 + Sense[7]; at += 2 + Sense[at + 1])
        {
            if (Sense[at] == type)
            {
                return Sense.AsSpan(at, Math.Min(2 + Sense[at + 1], Sense.Length - at));
            }
        }

        return default;
    }
}
