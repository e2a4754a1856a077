using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>VERIFY and WRITE AND VERIFY (10), (12) and (16) (SBC-3, sections 5.29 to 5.31 and 5.37 to 5.39).</summary>
internal static unsafe class Verify
{
    private const int CompareMedium = 0;
    private const int CompareData = 1;
    private const int CompareOneBlock = 3;

    public static ScsiAction Begin(DeviceServer server, LogicalUnitState state, CommandDescriptor command, ScsiTask* task)
    {
        var range = BlockRange.Decode(ScsiTask.CdbOf(task), command.LengthBytes);
        var byteCheck = ByteCheck(task);
        if (byteCheck == 2)
        {
            return TaskResult.InvalidCdb(task, 1, 2);
        }

        if (!Transfers.CheckRange(state, command, task, range) || range.Count == 0)
        {
            return ScsiAction.Done;
        }

        task->Cursor = range.Lba;
        task->Remaining = range.Count;
        switch (byteCheck)
        {
            case CompareData:
                return Transfers.UseDataOut(task, range.Count << state.BlockShift) ? Compare(task, range) : ScsiAction.Done;
            case CompareOneBlock:
                if (!Transfers.UseDataOut(task, state.BlockSizeBytes) || !Transfers.RentScratch(server, task))
                {
                    return ScsiAction.Done;
                }

                var room = ScratchPool.SpanOf(task->Scratch);
                if (!Transfers.FetchParameters(task, room[..(int)state.BlockSizeBytes]))
                {
                    return ScsiAction.Done;
                }

                WriteSame.Repeat(room, (int)state.BlockSizeBytes, range.Count << state.BlockShift);
                return NextSame(state, task);
            default:
                return Transfers.RentScratch(server, task) ? NextMedium(state, task) : ScsiAction.Done;
        }
    }

    public static ScsiAction BeginWriteAndVerify(LogicalUnitState state, CommandDescriptor command, ScsiTask* task)
    {
        var range = BlockRange.Decode(ScsiTask.CdbOf(task), command.LengthBytes);
        if (ByteCheck(task) > CompareData)
        {
            return TaskResult.InvalidCdb(task, 1, 2);
        }

        if (!Transfers.CheckRange(state, command, task, range) || range.Count == 0 || !Transfers.UseDataOut(task, range.Count << state.BlockShift))
        {
            return ScsiAction.Done;
        }

        task->Cursor = range.Lba;
        task->Remaining = range.Count;
        return Transfers.SubmitDataOut(task, BlockOperation.Write, BlockRequestFlags.ForceUnitAccess, range, Continuation.VerifyWritten);
    }

    /// <summary>The data of a WRITE AND VERIFY is on the medium.</summary>
    public static ScsiAction Written(DeviceServer server, LogicalUnitState state, ScsiTask* task)
    {
        if (ByteCheck(task) == CompareData)
        {
            return Compare(task, new(task->Cursor, task->Remaining));
        }

        return Transfers.RentScratch(server, task) ? NextMedium(state, task) : ScsiAction.Done;
    }

    public static ScsiAction NextMedium(LogicalUnitState state, ScsiTask* task)
        => NextPiece(state, task, BlockOperation.Read, Continuation.VerifyMedium);

    public static ScsiAction NextSame(LogicalUnitState state, ScsiTask* task)
        => NextPiece(state, task, BlockOperation.Compare, Continuation.VerifySame);

    private static int ByteCheck(ScsiTask* task) => (task->Cdb[1] >> 1) & 0x03;

    private static ScsiAction Compare(ScsiTask* task, BlockRange range)
        => Transfers.SubmitDataOut(task, BlockOperation.Compare, BlockRequestFlags.None, range);

    private static ScsiAction NextPiece(LogicalUnitState state, ScsiTask* task, BlockOperation operation, Continuation then)
    {
        if (task->Remaining == 0)
        {
            return ScsiAction.Done;
        }

        var count = Math.Min(task->Remaining, (ulong)ScratchPool.DataLengthBytes >> state.BlockShift);
        Transfers.SetRequest(task, operation, BlockRequestFlags.None, task->Cursor, count);
        Transfers.UseScratch(task, count << state.BlockShift);
        task->Cursor += count;
        task->Remaining -= count;
        task->Continuation = then;
        return ScsiAction.Submit;
    }
}
