using System.Buffers.Binary;
using System.Text;

namespace Vhost.Scsi;

/// <summary>INQUIRY (SPC-4, section 6.6): standard data here, vital product data in <see cref="VitalProductData"/>.</summary>
internal static unsafe class Inquiry
{
    /// <summary>Peripheral qualifier 011b and device type 1Fh: no unit at this number.</summary>
    public const byte NotSupported = 0x7F;
    private const byte DirectAccess = 0x00;
    private const byte WellKnown = 0x1E;
    private const int StandardLengthBytes = 96;

    public static ScsiAction Execute(ItlNexus nexus, LogicalUnitState state, ScsiTask* task, byte[] buffer)
    {
        var cdb = ScsiTask.CdbOf(task);
        if ((cdb[1] & 0x01) != 0)
        {
            var length = VitalProductData.Write(nexus, state, cdb[2], buffer);
            return length == 0 ? TaskResult.InvalidCdb(task, 2) : Send(task, buffer.AsSpan(0, length));
        }

        return SendStandard(task, DirectAccess, state.Identity.Product, buffer);
    }

    public static ScsiAction ExecuteUnattached(ScsiTask* task, byte[] buffer) => ExecuteWithoutPages(task, NotSupported, buffer);

    public static ScsiAction ExecuteWellKnown(ScsiTarget target, ScsiTask* task, byte[] buffer)
    {
        if ((task->Cdb[1] & 0x01) != 0 && task->Cdb[2] == VitalProductData.DeviceIdentification)
        {
            return Send(task, buffer.AsSpan(0, VitalProductData.WriteWellKnownIdentification(target, WellKnown, buffer)));
        }

        return ExecuteWithoutPages(task, WellKnown, buffer);
    }

    public static void WriteAscii(Span<byte> field, string text)
    {
        field.Fill((byte)' ');
        Encoding.ASCII.GetBytes(text.AsSpan(0, Math.Min(text.Length, field.Length)), field);
    }

    private static ScsiAction ExecuteWithoutPages(ScsiTask* task, byte peripheral, byte[] buffer)
    {
        if ((task->Cdb[1] & 0x01) == 0)
        {
            return SendStandard(task, peripheral, string.Empty, buffer);
        }

        if (task->Cdb[2] != VitalProductData.SupportedPages)
        {
            return TaskResult.InvalidCdb(task, 2);
        }

        // The list of pages holds the list itself, and what a well-known unit must have.
        ReadOnlySpan<byte> pages = peripheral == WellKnown
            ? [peripheral, VitalProductData.SupportedPages, 0, 2, VitalProductData.SupportedPages, VitalProductData.DeviceIdentification]
            : [peripheral, VitalProductData.SupportedPages, 0, 1, VitalProductData.SupportedPages];
        return Send(task, pages);
    }

    private static ScsiAction SendStandard(ScsiTask* task, byte peripheral, string product, byte[] buffer)
    {
        if (task->Cdb[2] != 0)
        {
            // A page code without EVPD.
            return TaskResult.InvalidCdb(task, 2);
        }

        var data = buffer.AsSpan(0, StandardLengthBytes);
        data.Clear();
        data[0] = peripheral;
        data[2] = 0x06; // SPC-4
        data[3] = 0x12; // HISUP, response data format 2
        data[4] = StandardLengthBytes - 5;
        data[5] = peripheral == DirectAccess ? (byte)(TargetPortGroups.InquiryBits | ThirdPartyCopy.InquiryBit) : (byte)0;
        data[6] = 0x10; // MULTIP: a bdev may be shared by several target ports
        data[7] = 0x02; // CMDQUE
        WriteAscii(data.Slice(8, 8), LogicalUnitIdentity.Vendor);
        WriteAscii(data.Slice(16, 16), product);
        WriteAscii(data.Slice(32, 4), LogicalUnitIdentity.Revision);
        BinaryPrimitives.WriteUInt16BigEndian(data[58..], 0x00A0); // SAM-5
        BinaryPrimitives.WriteUInt16BigEndian(data[60..], 0x0460); // SPC-4
        if (peripheral == DirectAccess)
        {
            BinaryPrimitives.WriteUInt16BigEndian(data[62..], 0x04C0); // SBC-3
        }

        return Send(task, data);
    }

    private static ScsiAction Send(ScsiTask* task, ReadOnlySpan<byte> data)
        => TaskResult.SendData(task, data, BinaryPrimitives.ReadUInt16BigEndian(ScsiTask.CdbOf(task)[3..]));
}
