using System.Buffers.Binary;
using System.Numerics;

namespace Vhost.Scsi;

/// <summary>READ CAPACITY (10) and (16) (SBC-3, sections 5.12 and 5.13).</summary>
internal static unsafe class ReadCapacity
{
    public static ScsiAction Execute10(LogicalUnitState state, ScsiTask* task)
    {
        Span<byte> data = stackalloc byte[8];
        var lastLba = state.BlockCount - 1;
        BinaryPrimitives.WriteUInt32BigEndian(data, lastLba > uint.MaxValue - 1 ? uint.MaxValue : (uint)lastLba);
        BinaryPrimitives.WriteUInt32BigEndian(data[4..], state.BlockSizeBytes);
        return TaskResult.SendData(task, data, (ulong)data.Length);
    }

    public static ScsiAction Execute16(LogicalUnitState state, ScsiTask* task)
    {
        Span<byte> data = stackalloc byte[32];
        data.Clear();
        BinaryPrimitives.WriteUInt64BigEndian(data, state.BlockCount - 1);
        BinaryPrimitives.WriteUInt32BigEndian(data[8..], state.BlockSizeBytes);
        data[13] = (byte)PhysicalBlockExponent(state);
        if (state.CanDiscard)
        {
            // LBPME, and LBPRZ where unmapped blocks read as zeroes.
            data[14] = (byte)(0x80 | (state.Info.DiscardReadsZeroes ? 0x40 : 0));
        }

        return TaskResult.SendData(task, data, BinaryPrimitives.ReadUInt32BigEndian(ScsiTask.CdbOf(task)[10..]));
    }

    private static int PhysicalBlockExponent(LogicalUnitState state)
    {
        var ratio = state.Info.PhysicalBlockSizeBytes / state.BlockSizeBytes;
        return ratio > 1 && BitOperations.IsPow2(ratio) ? Math.Min(15, BitOperations.Log2(ratio)) : 0;
    }
}
