using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>What commands that move blocks have in common.</summary>
internal static unsafe class Transfers
{
    /// <summary>The FUA bit, in byte 1 of the CDBs of READ and WRITE but for those of six bytes.</summary>
    public const byte ForceUnitAccessBit = 0x08;

    /// <summary>Checks a range against the medium and the transfer limit; if it does not pass, the task is done.</summary>
    public static bool CheckRange(LogicalUnitState state, CommandDescriptor command, ScsiTask* task, BlockRange range)
    {
        if (!range.FitsIn(state.BlockCount))
        {
            TaskResult.LbaOutOfRange(task);
            return false;
        }

        if (range.Count > state.MaxTransferBlocks)
        {
            TaskResult.InvalidCdb(task, BlockRange.CountField(command.LengthBytes));
            return false;
        }

        return true;
    }

    /// <summary>Takes that many bytes of the Data-In buffer; if there are fewer, the task is done.</summary>
    public static bool UseDataIn(ScsiTask* task, ulong lengthBytes)
    {
        if (lengthBytes != task->DataInLengthBytes)
        {
            if (lengthBytes > task->DataInLengthBytes)
            {
                TaskResult.Respond(task, ServiceResponse.Overrun);
                return false;
            }

            task->DataInCount = DataBuffer.Trim(task->DataIn, task->DataInCount, lengthBytes);
        }

        task->TransferredBytes = lengthBytes;
        return true;
    }

    /// <summary>Takes that many bytes of the Data-Out buffer; if there are fewer, the task is done.</summary>
    public static bool UseDataOut(ScsiTask* task, ulong lengthBytes)
    {
        if (lengthBytes != task->DataOutLengthBytes)
        {
            if (lengthBytes > task->DataOutLengthBytes)
            {
                TaskResult.Respond(task, ServiceResponse.Overrun);
                return false;
            }

            task->DataOutCount = DataBuffer.Trim(task->DataOut, task->DataOutCount, lengthBytes);
        }

        task->TransferredBytes = lengthBytes;
        return true;
    }

    /// <summary>Copies a parameter list once, so that it cannot change while it is looked at; if the buffer is shorter, the task is done.</summary>
    public static bool FetchParameters(ScsiTask* task, Span<byte> destination)
    {
        if ((ulong)destination.Length > task->DataOutLengthBytes
            || DataBuffer.Gather(task->DataOut, task->DataOutCount, 0, destination) != destination.Length)
        {
            TaskResult.Respond(task, ServiceResponse.Overrun);
            return false;
        }

        return true;
    }

    /// <summary>The flags of a write whose CDB has a FUA bit in the usual place.</summary>
    public static BlockRequestFlags WriteFlags(LogicalUnitState state, ScsiTask* task)
        => state.WriteFlags | ((task->Cdb[1] & ForceUnitAccessBit) != 0 ? BlockRequestFlags.ForceUnitAccess : BlockRequestFlags.None);

    /// <summary>Makes the Data-Out buffer the data of a block request, and asks for it to be submitted.</summary>
    public static ScsiAction SubmitDataOut(ScsiTask* task, BlockOperation operation, BlockRequestFlags flags, BlockRange range, Continuation then = Continuation.None)
    {
        SetRequest(task, operation, flags, range.Lba, range.Count);
        task->Block.Segments = task->DataOut;
        task->Block.SegmentCount = task->DataOutCount;
        task->Continuation = then;
        return ScsiAction.Submit;
    }

    /// <summary>Sets all of the block request but its segments.</summary>
    public static void SetRequest(ScsiTask* task, BlockOperation operation, BlockRequestFlags flags, ulong lba, ulong count)
    {
        ref var block = ref task->Block;
        block.Operation = operation;
        block.Flags = flags;
        block.Status = BlockStatus.Success;
        block.StartBlock = lba;
        block.BlockCount = count;
        block.Information = 0;
        block.Segments = null;
        block.SegmentCount = 0;
    }

    public static ScsiAction Flush(ScsiTask* task, Continuation then)
    {
        SetRequest(task, BlockOperation.Flush, BlockRequestFlags.None, 0, 0);
        task->Continuation = then;
        return ScsiAction.Submit;
    }

    public static ScsiAction ReadAfterFlush(ScsiTask* task)
    {
        SetRequest(task, BlockOperation.Read, BlockRequestFlags.None, task->Cursor, task->Remaining);
        task->Block.Segments = task->DataIn;
        task->Block.SegmentCount = task->DataInCount;
        task->Continuation = Continuation.None;
        return ScsiAction.Submit;
    }

    /// <summary>PRE-FETCH (SBC-3, section 5.8). There is no cache that it would fill, and GOOD says so: not all blocks were cached.</summary>
    public static ScsiAction PreFetch(LogicalUnitState state, CommandDescriptor command, ScsiTask* task)
        => BlockRange.Decode(ScsiTask.CdbOf(task), command.LengthBytes).FitsIn(state.BlockCount)
            ? TaskResult.Good(task)
            : TaskResult.LbaOutOfRange(task);

    /// <summary>Takes scratch memory for the task; if there is none, the task is done with BUSY.</summary>
    public static bool RentScratch(DeviceServer server, ScsiTask* task)
    {
        task->Scratch = server.Scratch.TryRent();
        if (task->Scratch == null)
        {
            TaskResult.WithStatus(task, ScsiStatus.Busy);
            return false;
        }

        return true;
    }

    /// <summary>Makes a piece of the scratch memory the data of the block request.</summary>
    public static void UseScratch(ScsiTask* task, ulong lengthBytes)
    {
        task->Block.Segments = ScratchPool.Describe(task->Scratch, lengthBytes);
        task->Block.SegmentCount = 1;
    }
}
