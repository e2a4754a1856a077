using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>WRITE SAME (10) and (16) (SBC-3, sections 5.43 and 5.44).</summary>
internal static unsafe class WriteSame
{
    private const byte UnmapBit = 0x08;
    private const byte NoDataOutBit = 0x01;

    public static ScsiAction Begin(DeviceServer server, LogicalUnitState state, CommandDescriptor command, ScsiTask* task)
    {
        var cdb = ScsiTask.CdbOf(task);
        var range = BlockRange.Decode(cdb, command.LengthBytes);
        if (!range.FitsIn(state.BlockCount))
        {
            return TaskResult.LbaOutOfRange(task);
        }

        if (range.Count == 0 || range.Count > state.MaxWriteSameBlocks)
        {
            return TaskResult.InvalidCdb(task, BlockRange.CountField(command.LengthBytes));
        }

        var mayUnmap = (cdb[1] & UnmapBit) != 0;
        if (mayUnmap && !state.CanDiscard)
        {
            return TaskResult.InvalidCdb(task, 1, 3);
        }

        var flags = state.WriteFlags | (mayUnmap ? BlockRequestFlags.MayUnmap : BlockRequestFlags.None);
        if (command.LengthBytes == 16 && (cdb[1] & NoDataOutBit) != 0)
        {
            return Zero(task, flags, range);
        }

        if (!Transfers.UseDataOut(task, state.BlockSizeBytes) || !Transfers.RentScratch(server, task))
        {
            return ScsiAction.Done;
        }

        var room = ScratchPool.SpanOf(task->Scratch);
        var pattern = room[..(int)state.BlockSizeBytes];
        if (!Transfers.FetchParameters(task, pattern))
        {
            return ScsiAction.Done;
        }

        if (pattern.IndexOfAnyExcept((byte)0) < 0)
        {
            return Zero(task, flags, range);
        }

        Repeat(room, pattern.Length, range.Count << state.BlockShift);
        task->Cursor = range.Lba;
        task->Remaining = range.Count;
        return Next(state, task);
    }

    public static ScsiAction Next(LogicalUnitState state, ScsiTask* task)
    {
        if (task->Remaining == 0)
        {
            return ScsiAction.Done;
        }

        var count = Math.Min(task->Remaining, (ulong)ScratchPool.DataLengthBytes >> state.BlockShift);
        Transfers.SetRequest(task, BlockOperation.Write, state.WriteFlags, task->Cursor, count);
        Transfers.UseScratch(task, count << state.BlockShift);
        task->Cursor += count;
        task->Remaining -= count;
        task->Continuation = Continuation.WriteSame;
        return ScsiAction.Submit;
    }

    /// <summary>Fills the room with the pattern at its front, as far as it is needed.</summary>
    public static void Repeat(Span<byte> room, int patternLength, ulong neededBytes)
    {
        var needed = (int)Math.Min((ulong)room.Length, neededBytes);
        for (var filled = patternLength; filled < needed; filled += patternLength)
        {
            room[..patternLength].CopyTo(room[filled..]);
        }
    }

    private static ScsiAction Zero(ScsiTask* task, BlockRequestFlags flags, BlockRange range)
    {
        Transfers.SetRequest(task, BlockOperation.WriteZeroes, flags, range.Lba, range.Count);
        task->Continuation = Continuation.None;
        return ScsiAction.Submit;
    }
}
