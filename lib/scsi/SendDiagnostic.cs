using System.Buffers.Binary;
using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>
/// SEND DIAGNOSTIC (SPC-4, section 6.42): the default and the short foreground self-test read the first, the middle and the last block. There are no diagnostic
/// pages, no self-tests in the background, and no extended one: VERIFY reads the whole medium, and says how far it came.
/// </summary>
internal static unsafe class SendDiagnostic
{
    private const byte SelfTestBit = 0x04;
    private const int ForegroundShort = 5;
    private const byte Passed = 0x0;
    private const byte AbortedByOther = 0x2;
    private const byte Failed = 0x7;

    public static ScsiAction Begin(DeviceServer server, LogicalUnitState state, ScsiTask* task)
    {
        var cdb = ScsiTask.CdbOf(task);
        if (BinaryPrimitives.ReadUInt16BigEndian(cdb[3..]) != 0)
        {
            // No diagnostic pages.
            return TaskResult.InvalidCdb(task, 3);
        }

        var code = cdb[1] >> 5;
        var isDefaultSelfTest = (cdb[1] & SelfTestBit) != 0;
        if (isDefaultSelfTest ? code != 0 : code is not (0 or ForegroundShort))
        {
            return TaskResult.InvalidCdb(task, 1, 7);
        }

        if (!isDefaultSelfTest && code == 0)
        {
            return (cdb[1] & 0x03) != 0 ? TaskResult.InvalidCdb(task, 1, 1) : TaskResult.Good(task);
        }

        if (state.IsStopped)
        {
            return TaskResult.Check(task, SenseKey.NotReady, AdditionalSense.InitializingCommandRequired);
        }

        if (!Transfers.RentScratch(server, task))
        {
            return ScsiAction.Done;
        }

        task->Cursor = 0;
        return Read(state, task);
    }

    /// <summary>A block was read, or not.</summary>
    public static ScsiAction Next(ItlNexus nexus, LogicalUnitState? state, ScsiTask* task)
    {
        var code = (byte)(task->Cdb[1] >> 5);
        if (task->IsAborted)
        {
            nexus.Unit.Log.AddSelfTest(code, AbortedByOther);
            return TaskResult.Respond(task, ServiceResponse.Aborted);
        }

        if (task->Block.Status != BlockStatus.Success || state is null)
        {
            nexus.Unit.Log.AddSelfTest(code, Failed, task->Block.StartBlock, SenseKey.MediumError, AdditionalSense.UnrecoveredReadError);
            return TaskResult.Check(task, SenseKey.HardwareError, AdditionalSense.LogicalUnitFailedSelfTest);
        }

        if (++task->Cursor < 3)
        {
            return Read(state, task);
        }

        nexus.Unit.Log.AddSelfTest(code, Passed);
        return TaskResult.Good(task);
    }

    private static ScsiAction Read(LogicalUnitState state, ScsiTask* task)
    {
        var lba = task->Cursor switch { 0 => 0UL, 1 => state.BlockCount / 2, _ => state.BlockCount - 1 };
        Transfers.SetRequest(task, BlockOperation.Read, BlockRequestFlags.None, lba, 1);
        Transfers.UseScratch(task, state.BlockSizeBytes);
        task->Continuation = Continuation.SelfTest;
        return ScsiAction.Submit;
    }
}
