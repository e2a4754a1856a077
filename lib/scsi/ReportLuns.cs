using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>REPORT LUNS (SPC-4, section 6.33).</summary>
internal static unsafe class ReportLuns
{
    private const int MinAllocationLengthBytes = 16;

    public static ScsiAction Execute(ScsiTarget target, ScsiTask* task, byte[] buffer)
    {
        var cdb = ScsiTask.CdbOf(task);
        var allocationLength = BinaryPrimitives.ReadUInt32BigEndian(cdb[6..]);
        var select = cdb[2];
        if (select is not (0x00 or 0x01 or 0x02 or 0x10 or 0x11 or 0x12))
        {
            return TaskResult.InvalidCdb(task, 2);
        }

        if (allocationLength < MinAllocationLengthBytes)
        {
            return TaskResult.InvalidCdb(task, 6);
        }

        var length = 8;
        if (select is 0x00 or 0x02)
        {
            foreach (var nexus in target.Nexuses)
            {
                if (nexus is { Unit.IsPresent: true })
                {
                    length += Add(buffer.AsSpan(length), nexus.Lun);
                }
            }
        }

        if (select is 0x01 or 0x02)
        {
            // The REPORT LUNS well-known unit, in the extended addressing format (SAM-5, section 4.7.7.5).
            BinaryPrimitives.WriteUInt64BigEndian(buffer.AsSpan(length), 0xC101_0000_0000_0000);
            length += 8;
        }

        BinaryPrimitives.WriteUInt32BigEndian(buffer, (uint)(length - 8));
        buffer.AsSpan(4, 4).Clear();
        var action = TaskResult.SendData(task, buffer.AsSpan(0, length), allocationLength);
        if (task->Response == ServiceResponse.Complete)
        {
            // The initiator has the list now (SPC-4, section 6.33.1).
            foreach (var nexus in target.Nexuses)
            {
                nexus?.Clear(UnitAttentions.ReportedLunsChanged);
            }
        }

        return action;
    }

    private static int Add(Span<byte> entry, ushort lun)
    {
        // Peripheral addressing below 256, flat space addressing above (SAM-5, sections 4.7.7.2 and 4.7.7.3).
        BinaryPrimitives.WriteUInt64BigEndian(entry, (ulong)(lun < 256 ? lun : 0x4000 | lun) << 48);
        return 8;
    }
}
