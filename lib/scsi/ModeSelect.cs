using System.Buffers.Binary;
using System.Numerics;

namespace Vhost.Scsi;

/// <summary>MODE SELECT (6) and (10) (SPC-4, sections 6.11 and 6.12). All pages are checked before any is applied.</summary>
internal static unsafe class ModeSelect
{
    private const byte PageFormatBit = 0x10;
    private const byte SavePagesBit = 0x01;
    private const int MaxListLengthBytes = 4096;

    public static ScsiAction Begin(ItlNexus nexus, LogicalUnitState state, CommandDescriptor command, ScsiTask* task, byte[] buffer)
    {
        var cdb = ScsiTask.CdbOf(task);
        if ((cdb[1] & SavePagesBit) != 0)
        {
            return TaskResult.InvalidCdb(task, 1, 0);
        }

        if ((cdb[1] & PageFormatBit) == 0)
        {
            return TaskResult.InvalidCdb(task, 1, 4);
        }

        var isLong = command.LengthBytes == 10;
        int listLength = isLong ? BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]) : cdb[4];
        if (listLength == 0)
        {
            return TaskResult.Good(task);
        }

        var headerLength = isLong ? 8 : 4;
        if (listLength < headerLength || listLength > MaxListLengthBytes)
        {
            return TaskResult.ParameterListLengthError(task);
        }

        var list = buffer.AsSpan(0, listLength);
        if (!Transfers.FetchParameters(task, list))
        {
            return ScsiAction.Done;
        }

        var mode = state.Mode;
        if (!ParseHeader(state, isLong, list, task, out var position) || !ParsePages(state, list, position, task, ref mode, out var fields))
        {
            return ScsiAction.Done;
        }

        TaskResult.Good(task, (ulong)listLength);

        // In this order: writes that begin from now on go through to the medium, then those that were completed before are flushed.
        nexus.Unit.SetMode(nexus, mode, fields);
        return state.IsWriteCacheEnabled && mode.IsWriteCacheDisabled && state.CanFlush
            ? Transfers.Flush(task, Continuation.ModeSelect)
            : ScsiAction.Done;
    }

    /// <summary>The flush failed, and with it the command: the cache stays on.</summary>
    public static void Undo(ItlNexus nexus) => nexus.Unit.SetMode(nexus, default, ModeFields.Caching);

    private static bool ParseHeader(LogicalUnitState state, bool isLong, ReadOnlySpan<byte> list, ScsiTask* task, out int position)
    {
        position = isLong ? 8 : 4;
        var mediumTypeField = isLong ? 2 : 1;
        if (list[mediumTypeField] != 0)
        {
            TaskResult.InvalidParameter(task, mediumTypeField);
            return false;
        }

        var longLba = isLong && (list[4] & 0x01) != 0;
        int descriptorLength = isLong ? BinaryPrimitives.ReadUInt16BigEndian(list[6..]) : list[3];
        if (descriptorLength == 0)
        {
            return true;
        }

        if (descriptorLength != (longLba ? 16 : 8))
        {
            TaskResult.InvalidParameter(task, isLong ? 6 : 3);
            return false;
        }

        if (list.Length - position < descriptorLength)
        {
            TaskResult.ParameterListLengthError(task);
            return false;
        }

        // The size of the medium and of its blocks cannot be changed (SBC-3, section 6.5.2).
        var descriptor = list.Slice(position, descriptorLength);
        var blockCount = longLba ? BinaryPrimitives.ReadUInt64BigEndian(descriptor) : BinaryPrimitives.ReadUInt32BigEndian(descriptor);
        var blockSize = longLba ? BinaryPrimitives.ReadUInt32BigEndian(descriptor[12..]) : BinaryPrimitives.ReadUInt32BigEndian(descriptor[4..]) & 0xFFFFFF;
        var unknownCount = longLba ? ulong.MaxValue : uint.MaxValue;
        if (blockCount != 0 && blockCount != unknownCount && blockCount != state.BlockCount)
        {
            TaskResult.InvalidParameter(task, position);
            return false;
        }

        if (blockSize != state.BlockSizeBytes)
        {
            TaskResult.InvalidParameter(task, position + (longLba ? 12 : 5));
            return false;
        }

        position += descriptorLength;
        return true;
    }

    private static bool ParsePages(LogicalUnitState state, ReadOnlySpan<byte> list, int position, ScsiTask* task, ref ModeParameters mode, out ModeFields fields)
    {
        fields = ModeFields.None;
        Span<byte> current = stackalloc byte[32];
        Span<byte> changeable = stackalloc byte[32];
        while (position < list.Length)
        {
            var page = list[position..];
            if (page.Length < 2)
            {
                TaskResult.ParameterListLengthError(task);
                return false;
            }

            var length = (page[0] & 0x40) != 0 ? 0 : ModePages.Write(current, (byte)(page[0] & 0x3F), ModePageValues.Current, state);
            if (length == 0)
            {
                TaskResult.InvalidParameter(task, position, 6);
                return false;
            }

            if (page[1] != length - 2)
            {
                TaskResult.InvalidParameter(task, position + 1);
                return false;
            }

            if (page.Length < length)
            {
                TaskResult.ParameterListLengthError(task);
                return false;
            }

            ModePages.Write(changeable, current[0], ModePageValues.Changeable, state);
            for (var i = 2; i < length; i++)
            {
                var wrong = (page[i] ^ current[i]) & ~changeable[i];
                if (wrong != 0)
                {
                    TaskResult.InvalidParameter(task, position + i, BitOperations.Log2((uint)wrong));
                    return false;
                }
            }

            // The PS bit is reserved here and says nothing.
            page[..length].CopyTo(current);
            current[0] &= 0x3F;
            if (current[0] != ModePages.Caching || state.Info.HasVolatileWriteCache)
            {
                mode = ModePages.Apply(current[..length], mode);
                fields |= current[0] switch
                {
                    ModePages.Caching => ModeFields.Caching,
                    ModePages.Control => ModeFields.Control,
                    _ => ModeFields.None,
                };
            }

            position += length;
        }

        return true;
    }
}
