namespace Vhost.Scsi;

/// <summary>Sense keys (SPC-4, section 4.5.6).</summary>
public enum SenseKey : byte
{
    /// <summary>NO SENSE.</summary>
    NoSense = 0x0,

    /// <summary>RECOVERED ERROR.</summary>
    RecoveredError = 0x1,

    /// <summary>NOT READY.</summary>
    NotReady = 0x2,

    /// <summary>MEDIUM ERROR.</summary>
    MediumError = 0x3,

    /// <summary>HARDWARE ERROR.</summary>
    HardwareError = 0x4,

    /// <summary>ILLEGAL REQUEST.</summary>
    IllegalRequest = 0x5,

    /// <summary>UNIT ATTENTION.</summary>
    UnitAttention = 0x6,

    /// <summary>DATA PROTECT.</summary>
    DataProtect = 0x7,

    /// <summary>COPY ABORTED.</summary>
    CopyAborted = 0x0A,

    /// <summary>ABORTED COMMAND.</summary>
    AbortedCommand = 0xB,

    /// <summary>MISCOMPARE.</summary>
    Miscompare = 0xE,
}
