namespace Vhost.Scsi;

/// <summary>REQUEST SENSE (SPC-4, section 6.39).</summary>
internal static unsafe class RequestSense
{
    public static ScsiAction Execute(ItlNexus nexus, LogicalUnitState state, ScsiTask* task)
    {
        var attention = nexus.TakeUnitAttention();
        if (attention != UnitAttentions.None)
        {
            return Send(task, SenseKey.UnitAttention, ItlNexus.Describe(attention));
        }

        return state.IsStopped
            ? Send(task, SenseKey.NotReady, AdditionalSense.InitializingCommandRequired)
            : Send(task, SenseKey.NoSense, AdditionalSense.None);
    }

    /// <summary>Sends sense data as parameter data, in the format that the CDB asks for.</summary>
    public static ScsiAction Send(ScsiTask* task, SenseKey key, AdditionalSense additional)
    {
        Span<byte> sense = stackalloc byte[SenseBytes.LengthBytes];
        var length = SenseData.Write(sense, (task->Cdb[1] & 0x01) != 0, key, additional);
        return TaskResult.SendData(task, sense[..length], task->Cdb[4]);
    }
}
