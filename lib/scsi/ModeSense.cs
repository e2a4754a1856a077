using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>MODE SENSE (6) and (10) (SPC-4, sections 6.13 and 6.14).</summary>
internal static unsafe class ModeSense
{
    private const byte AllSubpages = 0xFF;

    public static ScsiAction Execute(LogicalUnitState state, CommandDescriptor command, ScsiTask* task, byte[] buffer)
    {
        var cdb = ScsiTask.CdbOf(task);
        var isLong = command.LengthBytes == 10;
        var values = (ModePageValues)(cdb[2] >> 6);
        var page = (byte)(cdb[2] & 0x3F);
        var subpage = cdb[3];
        if (values == ModePageValues.Saved)
        {
            return TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.SavingParametersNotSupported, null, SenseKeySpecific.Cdb(2, 7));
        }

        if (subpage is not (0 or AllSubpages))
        {
            return TaskResult.InvalidCdb(task, 3);
        }

        var data = buffer.AsSpan(0, 256);
        data.Clear();
        var headerLength = isLong ? 8 : 4;
        var longLba = isLong && (cdb[1] & 0x10) != 0;
        var descriptorLength = (cdb[1] & 0x08) != 0 ? 0 : WriteBlockDescriptor(data[headerLength..], longLba, state);
        var length = headerLength + descriptorLength;
        var pagesStart = length;
        foreach (var code in ModePages.Codes)
        {
            if (page == ModePages.All || page == code)
            {
                length += ModePages.Write(data[length..], code, values, state);
            }
        }

        if (length == pagesStart)
        {
            return TaskResult.InvalidCdb(task, 2, 5);
        }

        // WP and DPOFUA (SBC-3, section 6.5.1).
        var deviceSpecific = (byte)((state.Info.IsReadOnly || state.Mode.IsSoftwareWriteProtected ? 0x80 : 0) | 0x10);
        if (isLong)
        {
            BinaryPrimitives.WriteUInt16BigEndian(data, (ushort)(length - 2));
            data[3] = deviceSpecific;
            data[4] = (byte)(longLba ? 1 : 0);
            BinaryPrimitives.WriteUInt16BigEndian(data[6..], (ushort)descriptorLength);
            return TaskResult.SendData(task, data[..length], BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]));
        }

        data[0] = (byte)(length - 1);
        data[2] = deviceSpecific;
        data[3] = (byte)descriptorLength;
        return TaskResult.SendData(task, data[..length], cdb[4]);
    }

    private static int WriteBlockDescriptor(Span<byte> data, bool longLba, LogicalUnitState state)
    {
        if (longLba)
        {
            BinaryPrimitives.WriteUInt64BigEndian(data, state.BlockCount);
            BinaryPrimitives.WriteUInt32BigEndian(data[12..], state.BlockSizeBytes);
            return 16;
        }

        BinaryPrimitives.WriteUInt32BigEndian(data, (uint)Math.Min(state.BlockCount, uint.MaxValue));
        BinaryPrimitives.WriteUInt32BigEndian(data[4..], state.BlockSizeBytes); // the length has 24 bits, and 65536 fits
        return 8;
    }
}
