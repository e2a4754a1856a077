namespace Vhost.Scsi;

/// <summary>What a command does, whatever the length of its CDB.</summary>
internal enum CommandKind : byte
{
    /// <summary>Not a command of this device server.</summary>
    Unknown = 0,
    Read,
    Write,
    TestUnitReady,
    RequestSense,
    Inquiry,
    ModeSelect,
    ModeSense,
    Reserve,
    Release,
    StartStopUnit,
    SendDiagnostic,
    ReadCapacity10,
    ReadCapacity16,
    GetLbaStatus,
    Verify,
    WriteAndVerify,
    PreFetch,
    SynchronizeCache,
    WriteSame,
    Unmap,
    LogSense,
    PersistentReserveIn,
    PersistentReserveOut,
    CompareAndWrite,
    OrWrite,
    ReportLuns,
    ReportTargetPortGroups,
    ExtendedCopy,
    ReceiveCopyResults,
    ReportSupportedOperationCodes,
    ReportSupportedTaskManagementFunctions,
}
