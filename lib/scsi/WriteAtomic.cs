using System.Buffers.Binary;
using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>
/// WRITE ATOMIC (16) (SBC-4, sections 4.29 and 5.48): one write that every other command, and whoever looks after a failure, finds done wholly or not at all. An atomic
/// boundary, which would cut it into several, is not supported.
/// </summary>
internal static unsafe class WriteAtomic
{
    private const int BoundaryField = 10;
    private const int CountField = 12;

    public static ScsiAction Begin(LogicalUnitState state, ScsiTask* task)
    {
        var cdb = ScsiTask.CdbOf(task);
        var range = new BlockRange(BinaryPrimitives.ReadUInt64BigEndian(cdb[2..]), BinaryPrimitives.ReadUInt16BigEndian(cdb[CountField..]));
        if (BinaryPrimitives.ReadUInt16BigEndian(cdb[BoundaryField..]) != 0)
        {
            return TaskResult.InvalidCdb(task, BoundaryField);
        }

        if (!range.FitsIn(state.BlockCount))
        {
            return TaskResult.LbaOutOfRange(task);
        }

        if (range.Count > state.MaxAtomicBlocks)
        {
            return TaskResult.InvalidCdb(task, CountField);
        }

        return range.Count == 0 || !Transfers.UseDataOut(task, range.Count << state.BlockShift)
            ? ScsiAction.Done
            : Transfers.SubmitDataOut(task, BlockOperation.Write, Transfers.WriteFlags(state, task) | BlockRequestFlags.Atomic, range);
    }
}
