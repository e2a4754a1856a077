namespace Vhost.Plugins.VhostScsi;

/// <summary>Numbers of the virtio SCSI host device (virtio 1.3, section 5.6).</summary>
internal static class VirtioScsi
{
    public const uint DeviceId = 8;

    public const int ControlQueue = 0;
    public const int EventQueue = 1;
    public const int FirstRequestQueue = 2;

    /// <summary>VIRTIO_SCSI_F_HOTPLUG: targets come and go.</summary>
    public const ulong FeatureHotplug = 1UL << 1;

    /// <summary>VIRTIO_SCSI_F_CHANGE: changes of parameters are reported.</summary>
    public const ulong FeatureChange = 1UL << 2;

    /// <summary>Request header before the CDB: lun, id, task_attr, prio, crn.</summary>
    public const int RequestHeaderBytes = 19;

    /// <summary>Response header before the sense data.</summary>
    public const int ResponseHeaderBytes = 12;

    public const int DefaultCdbBytes = 32;
    public const int DefaultSenseBytes = 96;

    public const int EventBytes = 16;
    public const uint EventNone = 0;
    public const uint EventTransportReset = 1;
    public const uint EventParameterChange = 3;
    public const uint EventsMissed = 0x8000_0000;
    public const uint ReasonRescan = 1;
    public const uint ReasonRemoved = 2;

    /// <summary>CAPACITY DATA HAS CHANGED: additional sense code 2Ah in the low byte, qualifier 09h above it.</summary>
    public const uint ReasonCapacityChanged = 0x092A;

    /// <summary>INQUIRY DATA HAS CHANGED.</summary>
    public const uint ReasonInquiryDataChanged = 0x033F;

    public const uint ControlTaskManagement = 0;
    public const uint ControlQueryNotifications = 1;
    public const uint ControlSubscribeNotifications = 2;
    public const int TaskManagementBytes = 24;
    public const int NotificationBytes = 16;
}
