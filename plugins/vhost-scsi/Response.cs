namespace Vhost.Plugins.VhostScsi;

/// <summary>Response codes (virtio 1.3, sections 5.6.6.1 and 5.6.6.2).</summary>
internal enum Response : byte
{
    /// <summary>The command completed with a SCSI status; or: the function completed.</summary>
    Ok = 0,
    Overrun = 1,
    Aborted = 2,
    BadTarget = 3,
    Reset = 4,
    Busy = 5,
    TransportFailure = 6,
    TargetFailure = 7,
    NexusFailure = 8,
    Failure = 9,
    FunctionSucceeded = 10,
    FunctionRejected = 11,
    IncorrectLun = 12,
}
