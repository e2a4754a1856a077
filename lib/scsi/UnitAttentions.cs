namespace Vhost.Scsi;

/// <summary>A set of unit attention conditions of one I_T_L nexus. They are reported one a command, the lowest bit first (SAM-5, section 5.14).</summary>
[Flags]
internal enum UnitAttentions
{
    None = 0,
    PowerOn = 1 << 0,
    BusDeviceReset = 1 << 1,
    NexusLoss = 1 << 2,
    ReportedLunsChanged = 1 << 3,
    InquiryDataChanged = 1 << 4,
    CapacityChanged = 1 << 5,
    ModeParametersChanged = 1 << 6,
    ReservationsPreempted = 1 << 7,
    ReservationsReleased = 1 << 8,
    RegistrationsPreempted = 1 << 9,
    LogParametersChanged = 1 << 10,
    All = (1 << 11) - 1,
}
