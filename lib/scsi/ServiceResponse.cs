namespace Vhost.Scsi;

/// <summary>How a command ended for the transport, apart from its SCSI status.</summary>
public enum ServiceResponse : byte
{
    /// <summary>The command completed; <see cref="ScsiTask.Status"/> is valid.</summary>
    Complete = 0,

    /// <summary>The CDB asks for more data than the transport gave buffers for. Nothing was transferred, nothing was changed.</summary>
    Overrun = 1,

    /// <summary>The command was aborted because the transport asked for it.</summary>
    Aborted = 2,
}
