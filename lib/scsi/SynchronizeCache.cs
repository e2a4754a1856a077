namespace Vhost.Scsi;

/// <summary>
/// SYNCHRONIZE CACHE (10) and (16) (SBC-3, sections 5.26 and 5.27). The whole cache is flushed, whatever the range; with IMMED, too, the status
/// comes after the flush, because an early one would hide a failure.
/// </summary>
internal static unsafe class SynchronizeCache
{
    public static ScsiAction Begin(LogicalUnitState state, CommandDescriptor command, ScsiTask* task)
    {
        if (!BlockRange.Decode(ScsiTask.CdbOf(task), command.LengthBytes).FitsIn(state.BlockCount))
        {
            return TaskResult.LbaOutOfRange(task);
        }

        // Without a flush operation there is no cache that could lose anything.
        return state.CanFlush ? Transfers.Flush(task, Continuation.None) : TaskResult.Good(task);
    }
}
