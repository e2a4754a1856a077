namespace Vhost.Scsi;

/// <summary>What the caller of a device server does next with a task.</summary>
public enum ScsiAction
{
    /// <summary>The command is done: its response, status, sense data and transferred length are set.</summary>
    Done,

    /// <summary>
    /// Submit <see cref="ScsiTask.Block"/> on the logical unit's channel; when it is completed, call <see cref="DeviceServer.Continue"/>.
    /// </summary>
    Submit,

    /// <summary>
    /// Submit <see cref="ScsiTask.Block"/> on the channel of another logical unit, <see cref="DeviceServer.UnitOf"/>; when it is completed, call
    /// <see cref="DeviceServer.Continue"/>. If the initiator does not see that unit any more, do so with <see cref="Abstractions.BlockStatus.NoDevice"/>.
    /// </summary>
    SubmitElsewhere,

    /// <summary>
    /// Take <see cref="DeviceServer.TakeWait"/> and start it; when it is done, call <see cref="DeviceServer.EndWait"/>, and the command is done. Only
    /// <see cref="DeviceServer.Begin"/> asks for that. A task that is aborted meanwhile ends at once.
    /// </summary>
    Wait,
}
