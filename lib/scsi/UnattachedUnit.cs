namespace Vhost.Scsi;

/// <summary>A logical unit number without a unit: three commands are answered (SPC-4, sections 6.6.2, 6.33 and 6.39).</summary>
internal static unsafe class UnattachedUnit
{
    public static ScsiAction Execute(ScsiTarget target, CommandDescriptor command, ScsiTask* task, byte[] buffer)
    {
        if ((command.Traits & CommandTraits.WorksUnattached) == 0)
        {
            return TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.LogicalUnitNotSupported);
        }

        if (!CommandChecks.HasValidCdb(command, task))
        {
            return ScsiAction.Done;
        }

        return command.Kind switch
        {
            CommandKind.Inquiry => Inquiry.ExecuteUnattached(task, buffer),
            CommandKind.ReportLuns => ReportLuns.Execute(target, task, buffer),
            _ => RequestSense.Send(task, SenseKey.IllegalRequest, AdditionalSense.LogicalUnitNotSupported),
        };
    }
}
