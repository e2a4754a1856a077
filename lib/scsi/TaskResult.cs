using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>The ways in which a command ends. Each returns <see cref="ScsiAction.Done"/>, so that a command ends with its return.</summary>
// SAFETY: tasks lie in native memory of the device server's caller for as long as they are under way.
internal static unsafe class TaskResult
{
    public static ScsiAction Good(ScsiTask* task, ulong transferredBytes = 0)
    {
        task->Response = ServiceResponse.Complete;
        task->Status = ScsiStatus.Good;
        task->SenseLengthBytes = 0;
        task->TransferredBytes = transferredBytes;
        return ScsiAction.Done;
    }

    public static ScsiAction WithStatus(ScsiTask* task, ScsiStatus status)
    {
        Good(task);
        task->Status = status;
        return ScsiAction.Done;
    }

    public static ScsiAction Respond(ScsiTask* task, ServiceResponse response)
    {
        Good(task);
        task->Response = response;
        return ScsiAction.Done;
    }

    public static ScsiAction Check(
        ScsiTask* task,
        SenseKey key,
        AdditionalSense additional,
        ulong? information = null,
        SenseKeySpecific specific = default,
        ulong? commandSpecific = null)
    {
        WithStatus(task, ScsiStatus.CheckCondition);
        var room = new Span<byte>(&task->Sense, SenseBytes.LengthBytes);
        task->SenseLengthBytes = (byte)SenseData.Write(room, task->UsesDescriptorSense, key, additional, information, specific, commandSpecific);
        return ScsiAction.Done;
    }

    /// <summary>INVALID FIELD IN CDB, with the field's place.</summary>
    public static ScsiAction InvalidCdb(ScsiTask* task, int byteIndex, int bit = -1)
        => Check(task, SenseKey.IllegalRequest, AdditionalSense.InvalidFieldInCdb, null, SenseKeySpecific.Cdb(byteIndex, bit));

    /// <summary>INVALID FIELD IN PARAMETER LIST, with the field's place.</summary>
    public static ScsiAction InvalidParameter(ScsiTask* task, int byteIndex, int bit = -1)
        => Check(task, SenseKey.IllegalRequest, AdditionalSense.InvalidFieldInParameterList, null, SenseKeySpecific.ParameterList(byteIndex, bit));

    public static ScsiAction ParameterListLengthError(ScsiTask* task)
        => Check(task, SenseKey.IllegalRequest, AdditionalSense.ParameterListLengthError);

    /// <summary>LOGICAL BLOCK ADDRESS OUT OF RANGE.</summary>
    public static ScsiAction LbaOutOfRange(ScsiTask* task)
        => Check(task, SenseKey.IllegalRequest, AdditionalSense.LbaOutOfRange);

    /// <summary>Sends parameter data, cut to the allocation length (SPC-4, section 4.2.5.6).</summary>
    public static ScsiAction SendData(ScsiTask* task, ReadOnlySpan<byte> data, ulong allocationLengthBytes)
    {
        var length = (ulong)data.Length < allocationLengthBytes ? data.Length : (int)allocationLengthBytes;
        if ((ulong)length > task->DataInLengthBytes)
        {
            return Respond(task, ServiceResponse.Overrun);
        }

        DataBuffer.Scatter(data[..length], task->DataIn, task->DataInCount);
        return Good(task, (ulong)length);
    }

    /// <summary>Maps how a block request failed (the status is not success).</summary>
    public static ScsiAction BlockFailure(ScsiTask* task)
    {
        ref var block = ref task->Block;
        switch (block.Status)
        {
            case BlockStatus.Aborted when task->IsAborted:
                return Respond(task, ServiceResponse.Aborted);
            case BlockStatus.Aborted:
                return Check(task, SenseKey.AbortedCommand, AdditionalSense.None);
            case BlockStatus.OutOfRange:
                return LbaOutOfRange(task);
            case BlockStatus.Unsupported:
                return Check(task, SenseKey.IllegalRequest, AdditionalSense.InvalidOperationCode);
            case BlockStatus.ReadOnly:
                return Check(task, SenseKey.DataProtect, AdditionalSense.WriteProtected);
            case BlockStatus.NoSpace:
                return Check(task, SenseKey.DataProtect, AdditionalSense.SpaceAllocationFailed);
            case BlockStatus.Miscompare:
                return Check(task, SenseKey.Miscompare, AdditionalSense.MiscompareDuringVerify, block.Information);
            case BlockStatus.NoDevice:
                return Check(task, SenseKey.IllegalRequest, AdditionalSense.LogicalUnitNotSupported);
            case BlockStatus.Busy:
                return WithStatus(task, ScsiStatus.Busy);
            case BlockStatus.TimedOut:
                return Check(task, SenseKey.AbortedCommand, AdditionalSense.CommunicationTimeOut);
            case BlockStatus.ReservationConflict:
                return WithStatus(task, ScsiStatus.ReservationConflict);
            case BlockStatus.IoError:
                return MediumError(task);
            default:
                return Check(task, SenseKey.HardwareError, AdditionalSense.InternalTargetFailure);
        }
    }

    private static ScsiAction MediumError(ScsiTask* task)
    {
        ref var block = ref task->Block;
        if (block.Operation == BlockOperation.Flush)
        {
            return Check(task, SenseKey.MediumError, AdditionalSense.WriteError);
        }

        // Which block failed is not known. Naming the first one claims no block before it and is what initiators retry from.
        var additional = block.Operation is BlockOperation.Read or BlockOperation.Compare
            ? AdditionalSense.UnrecoveredReadError
            : AdditionalSense.WriteError;
        return Check(task, SenseKey.MediumError, additional, block.StartBlock);
    }
}
