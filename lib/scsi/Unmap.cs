using System.Buffers.Binary;
using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>UNMAP (SBC-3, section 5.28). The whole list is checked before the first block is unmapped.</summary>
internal static unsafe class Unmap
{
    /// <summary>The limit of block descriptors in a list (VPD page B0h).</summary>
    public const int MaxDescriptors = 256;

    private const int HeaderLengthBytes = 8;
    private const int DescriptorLengthBytes = 16;

    public static ScsiAction Begin(DeviceServer server, LogicalUnitState state, ScsiTask* task)
    {
        int listLength = BinaryPrimitives.ReadUInt16BigEndian(ScsiTask.CdbOf(task)[7..]);
        if (listLength == 0)
        {
            return TaskResult.Good(task);
        }

        if (listLength < HeaderLengthBytes)
        {
            return TaskResult.ParameterListLengthError(task);
        }

        if (!Transfers.RentScratch(server, task))
        {
            return ScsiAction.Done;
        }

        var list = ScratchPool.SpanOf(task->Scratch)[..listLength];
        if (!Transfers.FetchParameters(task, list))
        {
            return ScsiAction.Done;
        }

        int descriptorsLength = BinaryPrimitives.ReadUInt16BigEndian(list[2..]);
        if (descriptorsLength > listLength - HeaderLengthBytes)
        {
            return TaskResult.ParameterListLengthError(task);
        }

        // An incomplete last descriptor is ignored.
        var count = descriptorsLength / DescriptorLengthBytes;
        if (count > MaxDescriptors)
        {
            return TaskResult.InvalidParameter(task, 2);
        }

        var total = 0UL;
        for (var i = 0; i < count; i++)
        {
            var range = RangeAt(list, i);
            if (!range.FitsIn(state.BlockCount))
            {
                return TaskResult.LbaOutOfRange(task);
            }

            total += range.Count;
            if (total > state.MaxUnmapBlocks)
            {
                return TaskResult.InvalidParameter(task, HeaderLengthBytes + (i * DescriptorLengthBytes) + 8);
            }
        }

        TaskResult.Good(task, (ulong)listLength);
        task->Cursor = 0;
        task->Remaining = (ulong)count;
        return Next(task);
    }

    public static ScsiAction Next(ScsiTask* task)
    {
        var list = ScratchPool.SpanOf(task->Scratch);
        while (task->Remaining > 0)
        {
            var range = RangeAt(list, (int)task->Cursor);
            task->Cursor++;
            task->Remaining--;
            if (range.Count > 0)
            {
                Transfers.SetRequest(task, BlockOperation.Discard, BlockRequestFlags.None, range.Lba, range.Count);
                task->Continuation = Continuation.Unmap;
                return ScsiAction.Submit;
            }
        }

        return ScsiAction.Done;
    }

    private static BlockRange RangeAt(ReadOnlySpan<byte> list, int index)
    {
        var descriptor = list.Slice(HeaderLengthBytes + (index * DescriptorLengthBytes), DescriptorLengthBytes);
        return new(BinaryPrimitives.ReadUInt64BigEndian(descriptor), BinaryPrimitives.ReadUInt32BigEndian(descriptor[8..]));
    }
}
