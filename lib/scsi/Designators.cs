using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>Designation descriptors (SPC-4, section 7.8.6).</summary>
internal static class Designators
{
    private const byte Binary = 0x01;
    private const byte Ascii = 0x02;
    private const byte OfUnit = 0x00;
    private const byte OfTargetPort = 0x10;
    private const byte T10VendorId = 0x01;
    private const byte Naa = 0x03;
    private const byte RelativePort = 0x04;
    private const byte PortGroup = 0x05;
    private const byte Uuid = 0x0A;

    /// <summary>The logical unit's own: NAA, UUID where there is one, and T10 vendor id.</summary>
    public static int WriteUnit(Span<byte> destination, LogicalUnitIdentity identity)
    {
        var length = WriteNaa(destination, OfUnit, identity.Naa);
        if (identity.Uuid is { } uuid)
        {
            var designator = Begin(destination[length..], Binary, OfUnit | Uuid, 18);
            designator[0] = 0x10;
            designator[1] = 0x00;
            uuid.TryWriteBytes(designator[2..], bigEndian: true, out _);
            length += 4 + designator.Length;
        }

        var vendorSpecific = $"{identity.Naa:x16}{identity.Serial}";
        var t10 = Begin(destination[length..], Ascii, OfUnit | T10VendorId, 8 + vendorSpecific.Length);
        Inquiry.WriteAscii(t10[..8], LogicalUnitIdentity.Vendor);
        Inquiry.WriteAscii(t10[8..], vendorSpecific);
        return length + 4 + t10.Length;
    }

    /// <summary>Whether a designator of a CSCD descriptor, with its header, is one of the unit's.</summary>
    public static bool IsOfUnit(ReadOnlySpan<byte> designator, LogicalUnitIdentity identity)
    {
        Span<byte> room = stackalloc byte[512];
        var all = room[..WriteUnit(room, identity)];
        while (all.Length > 0)
        {
            var one = all[..(4 + all[3])];
            if (designator.Length == one.Length
                && (designator[0] & 0x0F) == one[0]
                && (designator[1] & 0x3F) == one[1]
                && designator[4..].SequenceEqual(one[4..]))
            {
                return true;
            }

            all = all[one.Length..];
        }

        return false;
    }

    /// <summary>The target port's: name, relative identifier and group.</summary>
    public static int WriteTargetPort(Span<byte> destination, ScsiTarget target)
    {
        var length = WritePortName(destination, target);
        var relative = Begin(destination[length..], Binary, OfTargetPort | RelativePort, 4);
        BinaryPrimitives.WriteUInt32BigEndian(relative, target.RelativePortId);
        length += 4 + relative.Length;
        var group = Begin(destination[length..], Binary, OfTargetPort | PortGroup, 4);
        BinaryPrimitives.WriteUInt32BigEndian(group, TargetPortGroups.GroupOf(target));
        return length + 4 + group.Length;
    }

    /// <summary>The target port's name.</summary>
    public static int WritePortName(Span<byte> destination, ScsiTarget target) => WriteNaa(destination, OfTargetPort, target.PortNaa);

    private static int WriteNaa(Span<byte> destination, byte association, ulong naa)
    {
        var designator = Begin(destination, Binary, (byte)(association | Naa), 8);
        BinaryPrimitives.WriteUInt64BigEndian(designator, naa);
        return 4 + designator.Length;
    }

    private static Span<byte> Begin(Span<byte> destination, byte codeSet, byte associationAndType, int length)
    {
        destination[0] = codeSet;
        destination[1] = associationAndType;
        destination[2] = 0;
        destination[3] = (byte)length;
        return destination.Slice(4, length);
    }
}
