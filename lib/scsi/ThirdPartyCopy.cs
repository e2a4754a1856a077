using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>The third-party copy VPD page (SPC-4, section 7.8.17): what EXTENDED COPY can do, without tokens.</summary>
internal static class ThirdPartyCopy
{
    /// <summary>The 3PC bit of INQUIRY.</summary>
    public const byte InquiryBit = 0x08;

    public static int Write(Span<byte> payload)
    {
        payload[..128].Clear();

        // Supported commands: EXTENDED COPY (LID1), and RECEIVE COPY RESULTS with its two service actions.
        ReadOnlySpan<byte> commands = [0x83, 1, 0x00, 0x84, 2, 0x00, 0x03];
        var length = WriteList(payload, 0x0001, commands);

        var limits = payload.Slice(length, 32);
        BinaryPrimitives.WriteUInt16BigEndian(limits, 0x0004);
        BinaryPrimitives.WriteUInt16BigEndian(limits[2..], 0x001C);
        BinaryPrimitives.WriteUInt16BigEndian(limits[8..], CopyParameters.MaxDescriptors);
        BinaryPrimitives.WriteUInt16BigEndian(limits[10..], CopyParameters.MaxSegments);
        BinaryPrimitives.WriteUInt32BigEndian(limits[12..], CopyParameters.MaxDescriptorListBytes);
        length += limits.Length;

        length += WriteList(payload[length..], 0x0008, [CopyParameters.BlockToBlock, CopyParameters.IdentificationDescriptor]);

        // Supported CSCD IDs: none above those that number the descriptors.
        var ids = payload.Slice(length, 8);
        BinaryPrimitives.WriteUInt16BigEndian(ids, 0x000C);
        BinaryPrimitives.WriteUInt16BigEndian(ids[2..], 0x0004);
        length += ids.Length;

        var general = payload.Slice(length, 36);
        BinaryPrimitives.WriteUInt16BigEndian(general, 0x8001);
        BinaryPrimitives.WriteUInt16BigEndian(general[2..], 0x0020);
        BinaryPrimitives.WriteUInt32BigEndian(general[4..], CopyStatusList.MaxUnderWay);
        BinaryPrimitives.WriteUInt32BigEndian(general[8..], CopyStatusList.MaxUnderWay);
        BinaryPrimitives.WriteUInt32BigEndian(general[12..], CopyParameters.MaxSegmentBytes);
        general[16] = 9; // data segment granularity: 512 bytes
        return length + general.Length;
    }

    // A descriptor with a list of bytes, filled up to a multiple of four.
    private static int WriteList(Span<byte> destination, ushort type, ReadOnlySpan<byte> list)
    {
        var length = (4 + 1 + list.Length + 3) & ~3;
        BinaryPrimitives.WriteUInt16BigEndian(destination, type);
        BinaryPrimitives.WriteUInt16BigEndian(destination[2..], (ushort)(length - 4));
        destination[4] = (byte)list.Length;
        list.CopyTo(destination[5..]);
        return length;
    }
}
