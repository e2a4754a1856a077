using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>EXTENDED COPY (LID1) (SPC-4, section 6.5) and what RECEIVE COPY RESULTS tells of it (sections 6.22 and 6.24).</summary>
internal static unsafe class ExtendedCopy
{
    public const int CopyStatusLid1 = 0x00;

    private const int OperatingParametersLengthBytes = 46;

    /// <summary>Begins a copy.</summary>
    /// <param name="server">Where it goes on.</param>
    /// <param name="nexus">The nexus that the command came through.</param>
    /// <param name="task">The task.</param>
    /// <param name="buffer">For the parameter list.</param>
    public static ScsiAction Begin(DeviceServer server, ItlNexus nexus, ScsiTask* task, byte[] buffer)
    {
        var length = BinaryPrimitives.ReadUInt32BigEndian(ScsiTask.CdbOf(task)[10..]);
        if (length == 0)
        {
            return TaskResult.Good(task);
        }

        if (length < CopyParameters.HeaderLengthBytes || length > (uint)buffer.Length)
        {
            return TaskResult.ParameterListLengthError(task);
        }

        var list = buffer.AsSpan(0, (int)length);
        if (!Transfers.FetchParameters(task, list)
            || !CopyParameters.TryParse(list, nexus.Target, server.CopyScope, task, out var listId, out var descriptors, out var segments))
        {
            return ScsiAction.Done;
        }

        if (!Transfers.RentScratch(server, task))
        {
            return ScsiAction.Done;
        }

        CopyStatus? status = null;
        if (listId is { } id)
        {
            status = nexus.Copies.TryBegin(id, out var isInUse);
            if (status is null)
            {
                return isInUse
                    ? TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.OperationInProgress)
                    : TaskResult.WithStatus(task, ScsiStatus.TaskSetFull);
            }
        }

        TaskResult.Good(task, length);
        task->Continuation = Continuation.Copy;
        return server.BeginCopy(new CopyOperation(status, descriptors, segments), task);
    }

    public static ScsiAction Receive(ItlNexus nexus, ScsiTask* task)
    {
        var cdb = ScsiTask.CdbOf(task);
        var allocationLength = BinaryPrimitives.ReadUInt32BigEndian(cdb[10..]);
        return (cdb[1] & 0x1F) == CopyStatusLid1 ? ReceiveStatus(nexus, task, cdb[2], allocationLength) : ReceiveParameters(task, allocationLength);
    }

    private static ScsiAction ReceiveStatus(ItlNexus nexus, ScsiTask* task, byte listId, uint allocationLength)
    {
        if (nexus.Copies.Take(listId) is not { } status)
        {
            return TaskResult.InvalidCdb(task, 2);
        }

        Span<byte> data = stackalloc byte[12];
        data.Clear();
        data[3] = 8;
        data[4] = status.Code;
        BinaryPrimitives.WriteUInt16BigEndian(data[5..], (ushort)status.SegmentsDone);

        // Bytes, or KiB where they do not fit.
        var bytes = status.BytesDone;
        data[7] = (byte)(bytes > uint.MaxValue ? 1 : 0);
        BinaryPrimitives.WriteUInt32BigEndian(data[8..], (uint)(bytes > uint.MaxValue ? bytes >> 10 : bytes));
        return TaskResult.SendData(task, data, allocationLength);
    }

    private static ScsiAction ReceiveParameters(ScsiTask* task, uint allocationLength)
    {
        Span<byte> data = stackalloc byte[OperatingParametersLengthBytes];
        data.Clear();
        BinaryPrimitives.WriteUInt32BigEndian(data, (uint)data.Length - 4);
        data[4] = 0x01; // SNLID: a list without identifier is possible
        BinaryPrimitives.WriteUInt16BigEndian(data[8..], CopyParameters.MaxDescriptors);
        BinaryPrimitives.WriteUInt16BigEndian(data[10..], CopyParameters.MaxSegments);
        BinaryPrimitives.WriteUInt32BigEndian(data[12..], CopyParameters.MaxDescriptorListBytes);
        BinaryPrimitives.WriteUInt32BigEndian(data[16..], CopyParameters.MaxSegmentBytes);
        BinaryPrimitives.WriteUInt16BigEndian(data[34..], CopyStatusList.MaxUnderWay);
        data[36] = CopyStatusList.MaxUnderWay;
        data[37] = 9; // data segment granularity: 512 bytes
        data[43] = 2;
        data[44] = CopyParameters.BlockToBlock;
        data[45] = CopyParameters.IdentificationDescriptor;
        return TaskResult.SendData(task, data, allocationLength);
    }
}
