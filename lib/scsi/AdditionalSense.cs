namespace Vhost.Scsi;

/// <summary>Additional sense code (high byte) and qualifier (low byte) (SPC-4, section 4.5.6 and annex F).</summary>
public enum AdditionalSense : ushort
{
    /// <summary>NO ADDITIONAL SENSE INFORMATION.</summary>
    None = 0x0000,

    /// <summary>OPERATION IN PROGRESS.</summary>
    OperationInProgress = 0x0016,

    /// <summary>LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED: it was stopped.</summary>
    InitializingCommandRequired = 0x0402,

    /// <summary>LOGICAL UNIT COMMUNICATION TIME-OUT.</summary>
    CommunicationTimeOut = 0x0801,

    /// <summary>WRITE ERROR.</summary>
    WriteError = 0x0C00,

    /// <summary>THIRD PARTY DEVICE FAILURE.</summary>
    ThirdPartyDeviceFailure = 0x0D01,

    /// <summary>COPY TARGET DEVICE NOT REACHABLE.</summary>
    CopyTargetDeviceNotReachable = 0x0D02,

    /// <summary>UNRECOVERED READ ERROR.</summary>
    UnrecoveredReadError = 0x1100,

    /// <summary>PARAMETER LIST LENGTH ERROR.</summary>
    ParameterListLengthError = 0x1A00,

    /// <summary>MISCOMPARE DURING VERIFY OPERATION.</summary>
    MiscompareDuringVerify = 0x1D00,

    /// <summary>INVALID COMMAND OPERATION CODE.</summary>
    InvalidOperationCode = 0x2000,

    /// <summary>LOGICAL BLOCK ADDRESS OUT OF RANGE.</summary>
    LbaOutOfRange = 0x2100,

    /// <summary>INVALID FIELD IN CDB.</summary>
    InvalidFieldInCdb = 0x2400,

    /// <summary>LOGICAL UNIT NOT SUPPORTED.</summary>
    LogicalUnitNotSupported = 0x2500,

    /// <summary>INVALID FIELD IN PARAMETER LIST.</summary>
    InvalidFieldInParameterList = 0x2600,

    /// <summary>PARAMETER VALUE INVALID.</summary>
    ParameterValueInvalid = 0x2602,

    /// <summary>INVALID RELEASE OF PERSISTENT RESERVATION.</summary>
    InvalidReleaseOfPersistentReservation = 0x2604,

    /// <summary>TOO MANY TARGET DESCRIPTORS.</summary>
    TooManyTargetDescriptors = 0x2606,

    /// <summary>UNSUPPORTED TARGET DESCRIPTOR TYPE CODE.</summary>
    UnsupportedTargetDescriptorType = 0x2607,

    /// <summary>TOO MANY SEGMENT DESCRIPTORS.</summary>
    TooManySegmentDescriptors = 0x2608,

    /// <summary>UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE.</summary>
    UnsupportedSegmentDescriptorType = 0x2609,

    /// <summary>UNEXPECTED INEXACT SEGMENT.</summary>
    UnexpectedInexactSegment = 0x260A,

    /// <summary>INLINE DATA LENGTH EXCEEDED.</summary>
    InlineDataLengthExceeded = 0x260B,

    /// <summary>WRITE PROTECTED.</summary>
    WriteProtected = 0x2700,

    /// <summary>LOGICAL UNIT SOFTWARE WRITE PROTECTED.</summary>
    SoftwareWriteProtected = 0x2702,

    /// <summary>SPACE ALLOCATION FAILED WRITE PROTECT.</summary>
    SpaceAllocationFailed = 0x2707,

    /// <summary>POWER ON, RESET, OR BUS DEVICE RESET OCCURRED.</summary>
    PowerOnOrReset = 0x2900,

    /// <summary>BUS DEVICE RESET FUNCTION OCCURRED: a logical unit reset.</summary>
    BusDeviceReset = 0x2903,

    /// <summary>I_T NEXUS LOSS OCCURRED.</summary>
    NexusLoss = 0x2907,

    /// <summary>MODE PARAMETERS CHANGED.</summary>
    ModeParametersChanged = 0x2A01,

    /// <summary>LOG PARAMETERS CHANGED.</summary>
    LogParametersChanged = 0x2A02,

    /// <summary>RESERVATIONS PREEMPTED.</summary>
    ReservationsPreempted = 0x2A03,

    /// <summary>RESERVATIONS RELEASED.</summary>
    ReservationsReleased = 0x2A04,

    /// <summary>REGISTRATIONS PREEMPTED.</summary>
    RegistrationsPreempted = 0x2A05,

    /// <summary>CAPACITY DATA HAS CHANGED.</summary>
    CapacityChanged = 0x2A09,

    /// <summary>COMMANDS CLEARED BY DEVICE SERVER: the device server that had the command is gone.</summary>
    CommandsClearedByDeviceServer = 0x2F02,

    /// <summary>SAVING PARAMETERS NOT SUPPORTED.</summary>
    SavingParametersNotSupported = 0x3900,

    /// <summary>LOGICAL UNIT FAILED SELF-TEST.</summary>
    LogicalUnitFailedSelfTest = 0x3E03,

    /// <summary>INQUIRY DATA HAS CHANGED.</summary>
    InquiryDataChanged = 0x3F03,

    /// <summary>REPORTED LUNS DATA HAS CHANGED.</summary>
    ReportedLunsChanged = 0x3F0E,

    /// <summary>INTERNAL TARGET FAILURE.</summary>
    InternalTargetFailure = 0x4400,

    /// <summary>INSUFFICIENT REGISTRATION RESOURCES.</summary>
    InsufficientRegistrationResources = 0x5504,
}
