using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>SEND DIAGNOSTIC (SPC-4, section 6.42): the default self-test, which finds nothing to test.</summary>
internal static unsafe class SendDiagnostic
{
    public static ScsiAction Execute(ScsiTask* task)
    {
        var cdb = ScsiTask.CdbOf(task);
        if (BinaryPrimitives.ReadUInt16BigEndian(cdb[3..]) != 0)
        {
            // No diagnostic pages.
            return TaskResult.InvalidCdb(task, 3);
        }

        var isDefaultSelfTest = (cdb[1] & 0x04) != 0;
        if (isDefaultSelfTest ? (cdb[1] & 0xE0) != 0 : (cdb[1] & 0xE3) != 0)
        {
            return TaskResult.InvalidCdb(task, 1, 7);
        }

        return TaskResult.Good(task);
    }
}
