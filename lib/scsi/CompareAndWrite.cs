using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>COMPARE AND WRITE (SBC-3, section 5.2).</summary>
internal static unsafe class CompareAndWrite
{
    public static ScsiAction Begin(LogicalUnitState state, ScsiTask* task)
    {
        var cdb = ScsiTask.CdbOf(task);
        var range = new BlockRange(BlockRange.Decode(cdb, 16).Lba, cdb[13]);
        if (!range.FitsIn(state.BlockCount))
        {
            return TaskResult.LbaOutOfRange(task);
        }

        if (range.Count > state.MaxCompareAndWriteBlocks)
        {
            return TaskResult.InvalidCdb(task, 13);
        }

        // The verify instance of the data, then the write instance.
        return range.Count == 0 || !Transfers.UseDataOut(task, range.Count << state.BlockShift << 1)
            ? ScsiAction.Done
            : Transfers.SubmitDataOut(task, BlockOperation.CompareAndWrite, Transfers.WriteFlags(state, task), range);
    }
}
