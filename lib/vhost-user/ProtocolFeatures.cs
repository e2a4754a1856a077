namespace Vhost.VhostUser;

/// <summary>Protocol features (vhost-user, "Protocol features").</summary>
[Flags]
public enum ProtocolFeatures : ulong
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>MQ: the number of queues can be asked for.</summary>
    MultiQueue = 1UL << 0,

    /// <summary>LOG_SHMFD: the dirty log comes with a descriptor.</summary>
    LogSharedMemory = 1UL << 1,

    /// <summary>REPLY_ACK: any request may ask for an acknowledgement.</summary>
    ReplyAck = 1UL << 3,

    /// <summary>BACKEND_REQ: a channel for requests of the back-end.</summary>
    BackendRequest = 1UL << 5,

    /// <summary>CONFIG: device configuration space passes over the link.</summary>
    Config = 1UL << 9,

    /// <summary>BACKEND_SEND_FD: requests of the back-end may carry descriptors.</summary>
    BackendSendFd = 1UL << 10,

    /// <summary>HOST_NOTIFIER: doorbells of hardware.</summary>
    HostNotifier = 1UL << 11,

    /// <summary>INFLIGHT_SHMFD: requests under way are tracked in shared memory.</summary>
    InFlightSharedMemory = 1UL << 12,

    /// <summary>RESET_DEVICE: the device can be reset by a message.</summary>
    ResetDevice = 1UL << 13,

    /// <summary>INBAND_NOTIFICATIONS: kicks and calls as messages.</summary>
    InbandNotifications = 1UL << 14,

    /// <summary>CONFIGURE_MEM_SLOTS: memory regions are added and removed one by one.</summary>
    ConfigureMemorySlots = 1UL << 15,

    /// <summary>STATUS: the virtio device status passes over the link.</summary>
    Status = 1UL << 16,
}
