namespace Vhost.Scsi;

/// <summary>The REPORT LUNS well-known logical unit, W-LUN 01h (SPC-4, section 8.2).</summary>
internal static unsafe class WellKnownUnit
{
    public static ScsiAction Execute(ScsiTarget target, CommandDescriptor command, ScsiTask* task, byte[] buffer)
    {
        if (!CommandChecks.IsSupported(command, task))
        {
            return ScsiAction.Done;
        }

        if (command.Kind is not (CommandKind.Inquiry or CommandKind.ReportLuns or CommandKind.RequestSense or CommandKind.TestUnitReady))
        {
            return TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.InvalidOperationCode, null, SenseKeySpecific.Cdb(0));
        }

        if (!CommandChecks.HasValidCdb(command, task))
        {
            return ScsiAction.Done;
        }

        return command.Kind switch
        {
            CommandKind.Inquiry => Inquiry.ExecuteWellKnown(target, task, buffer),
            CommandKind.ReportLuns => ReportLuns.Execute(target, task, buffer),
            CommandKind.RequestSense => RequestSense.Send(task, SenseKey.NoSense, AdditionalSense.None),
            _ => TaskResult.Good(task),
        };
    }
}
