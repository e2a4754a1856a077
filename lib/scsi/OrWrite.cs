using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>
/// ORWRITE (16) (SBC-3, section 5.6), in pieces: read, OR, and write if the blocks are still the same (compare-and-write), else once more. So no
/// write of another initiator gets lost.
/// </summary>
internal static unsafe class OrWrite
{
    private const int PieceLengthBytes = ScratchPool.DataLengthBytes / 2;
    private const int MaxAttempts = 100;

    public static ScsiAction Begin(DeviceServer server, LogicalUnitState state, CommandDescriptor command, ScsiTask* task)
    {
        var range = BlockRange.Decode(ScsiTask.CdbOf(task), command.LengthBytes);
        if (!Transfers.CheckRange(state, command, task, range)
            || range.Count == 0
            || !Transfers.UseDataOut(task, range.Count << state.BlockShift)
            || !Transfers.RentScratch(server, task))
        {
            return ScsiAction.Done;
        }

        task->Cursor = range.Lba;
        task->Remaining = range.Count;
        *Attempts(task) = 0;
        return Read(state, task);
    }

    /// <summary>The old blocks are read.</summary>
    public static ScsiAction Write(LogicalUnitState state, ScsiTask* task)
    {
        var count = PieceCount(state, task);
        var length = (int)(count << state.BlockShift);
        var room = ScratchPool.SpanOf(task->Scratch);
        var old = room[..length];
        var combined = room.Slice(length, length);
        var first = BlockRange.Decode(ScsiTask.CdbOf(task), 16).Lba;
        DataBuffer.Gather(task->DataOut, task->DataOutCount, (task->Cursor - first) << state.BlockShift, combined);
        var oldWords = MemoryMarshal.Cast<byte, ulong>(old);
        var combinedWords = MemoryMarshal.Cast<byte, ulong>(combined);
        for (var i = 0; i < combinedWords.Length; i++)
        {
            combinedWords[i] |= oldWords[i];
        }

        Transfers.SetRequest(task, BlockOperation.CompareAndWrite, Transfers.WriteFlags(state, task), task->Cursor, count);
        Transfers.UseScratch(task, (ulong)length * 2);
        task->Continuation = Continuation.OrWriteWrite;
        return ScsiAction.Submit;
    }

    /// <summary>The new blocks are written.</summary>
    public static ScsiAction Next(LogicalUnitState state, ScsiTask* task)
    {
        var count = PieceCount(state, task);
        task->Cursor += count;
        task->Remaining -= count;
        *Attempts(task) = 0;
        return task->Remaining == 0 ? ScsiAction.Done : Read(state, task);
    }

    /// <summary>The blocks were changed between reading and writing.</summary>
    public static ScsiAction Retry(LogicalUnitState state, ScsiTask* task)
        => ++*Attempts(task) < MaxAttempts ? Read(state, task) : TaskResult.WithStatus(task, ScsiStatus.Busy);

    private static ScsiAction Read(LogicalUnitState state, ScsiTask* task)
    {
        var count = PieceCount(state, task);
        Transfers.SetRequest(task, BlockOperation.Read, BlockRequestFlags.None, task->Cursor, count);
        Transfers.UseScratch(task, count << state.BlockShift);
        task->Continuation = Continuation.OrWriteRead;
        return ScsiAction.Submit;
    }

    private static ulong PieceCount(LogicalUnitState state, ScsiTask* task) => Math.Min(task->Remaining, (ulong)PieceLengthBytes >> state.BlockShift);

    // SAFETY: the chunk's head has room for the segment (16 bytes) and this counter.
    private static int* Attempts(ScsiTask* task) => (int*)(task->Scratch + 64);
}
