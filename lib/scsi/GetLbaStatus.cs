using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>GET LBA STATUS (SBC-3, section 5.4). A bdev does not tell which blocks are provisioned, so all are reported as mapped.</summary>
internal static unsafe class GetLbaStatus
{
    public static ScsiAction Execute(LogicalUnitState state, ScsiTask* task)
    {
        var cdb = ScsiTask.CdbOf(task);
        var lba = BinaryPrimitives.ReadUInt64BigEndian(cdb[2..]);
        if (lba >= state.BlockCount)
        {
            return TaskResult.LbaOutOfRange(task);
        }

        Span<byte> data = stackalloc byte[24];
        data.Clear();
        BinaryPrimitives.WriteUInt32BigEndian(data, (uint)data.Length - 4);
        BinaryPrimitives.WriteUInt64BigEndian(data[8..], lba);
        BinaryPrimitives.WriteUInt32BigEndian(data[16..], (uint)Math.Min(uint.MaxValue, state.BlockCount - lba));
        return TaskResult.SendData(task, data, BinaryPrimitives.ReadUInt32BigEndian(cdb[10..]));
    }
}
