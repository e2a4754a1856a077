using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>REPORT SUPPORTED OPERATION CODES and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4, sections 6.34 and 6.35).</summary>
internal static unsafe class SupportedOperations
{
    private const int TimeoutsLengthBytes = 12;

    /// <summary>Whether the bdev behind the unit can do what the command needs.</summary>
    public static bool IsAvailable(LogicalUnitState state, CommandDescriptor command) => command.Kind switch
    {
        CommandKind.Unmap => state.CanDiscard,
        CommandKind.WriteSame => state.CanWriteZeroes,
        CommandKind.CompareAndWrite or CommandKind.OrWrite => state.CanCompareAndWrite,
        CommandKind.WriteAtomic => state.MaxAtomicBlocks > 0,
        CommandKind.Unknown => false,
        _ => true,
    };

    public static ScsiAction Execute(LogicalUnitState state, ScsiTask* task, byte[] buffer)
    {
        var cdb = ScsiTask.CdbOf(task);
        var withTimeouts = (cdb[2] & 0x80) != 0;
        var options = cdb[2] & 0x07;
        var operationCode = cdb[3];
        var serviceAction = BinaryPrimitives.ReadUInt16BigEndian(cdb[4..]);
        var hasServiceActions = CommandTable.HasServiceActions(operationCode);
        int length;
        switch (options)
        {
            case 0:
                length = WriteAll(state, withTimeouts, buffer);
                break;
            case 1 when !hasServiceActions:
            case 3 when !hasServiceActions:
                var plain = CommandTable.Find(operationCode, 0);
                length = WriteOne(state, options == 3 && serviceAction != 0 ? null : plain, withTimeouts, buffer);
                break;
            case 2 when hasServiceActions:
            case 3:
                length = WriteOne(state, CommandTable.FindServiceAction(operationCode, serviceAction), withTimeouts, buffer);
                break;
            case 1:
                return TaskResult.InvalidCdb(task, 2, 2);
            case 2:
                if (CommandTable.IsKnown(operationCode))
                {
                    return TaskResult.InvalidCdb(task, 2, 2);
                }

                length = WriteOne(state, null, withTimeouts, buffer);
                break;
            default:
                return TaskResult.InvalidCdb(task, 2, 2);
        }

        return TaskResult.SendData(task, buffer.AsSpan(0, length), BinaryPrimitives.ReadUInt32BigEndian(cdb[6..]));
    }

    public static ScsiAction ExecuteTaskManagement(ScsiTask* task)
    {
        var cdb = ScsiTask.CdbOf(task);
        var isExtended = (cdb[2] & 0x80) != 0;
        Span<byte> data = stackalloc byte[16];
        data.Clear();

        // ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, QUERY TASK.
        data[0] = 0x80 | 0x40 | 0x10 | 0x08 | 0x04;

        // QUERY TASK SET, I_T NEXUS RESET. There is no transport that carries QUERY ASYNCHRONOUS EVENT.
        data[1] = 0x02 | 0x01;
        if (isExtended)
        {
            data[3] = 0x0C;
        }

        return TaskResult.SendData(task, data[..(isExtended ? 16 : 4)], BinaryPrimitives.ReadUInt32BigEndian(cdb[6..]));
    }

    private static int WriteAll(LogicalUnitState state, bool withTimeouts, byte[] buffer)
    {
        var length = 4;
        foreach (var command in CommandTable.All)
        {
            if (!IsAvailable(state, command))
            {
                continue;
            }

            var entry = buffer.AsSpan(length, 8);
            entry.Clear();
            entry[0] = command.OperationCode;
            if (command.ServiceAction >= 0)
            {
                BinaryPrimitives.WriteUInt16BigEndian(entry[2..], (ushort)command.ServiceAction);
                entry[5] |= 0x01; // SERVACTV
            }

            BinaryPrimitives.WriteUInt16BigEndian(entry[6..], (ushort)command.LengthBytes);
            length += 8;
            if (withTimeouts)
            {
                entry[5] |= 0x02; // CTDP
                length += WriteTimeouts(buffer.AsSpan(length));
            }
        }

        BinaryPrimitives.WriteUInt32BigEndian(buffer, (uint)(length - 4));
        return length;
    }

    private static int WriteOne(LogicalUnitState state, CommandDescriptor? command, bool withTimeouts, byte[] buffer)
    {
        var data = buffer.AsSpan(0, 4 + CdbBytes.LengthBytes);
        data.Clear();
        if (command is null || !IsAvailable(state, command))
        {
            data[1] = 0x01; // not supported
            return 4;
        }

        data[1] = 0x03; // supported as the standard says
        BinaryPrimitives.WriteUInt16BigEndian(data[2..], (ushort)command.LengthBytes);
        command.Usage.CopyTo(data[4..]);
        var length = 4 + command.LengthBytes;
        if (withTimeouts)
        {
            data[1] |= 0x80; // CTDP
            length += WriteTimeouts(buffer.AsSpan(length));
        }

        return length;
    }

    private static int WriteTimeouts(Span<byte> destination)
    {
        // No timeout is known: nominal and recommended 0 (SPC-4, section 6.34.4).
        destination[..TimeoutsLengthBytes].Clear();
        destination[1] = TimeoutsLengthBytes - 2;
        return TimeoutsLengthBytes;
    }
}
