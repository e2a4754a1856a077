namespace Vhost.VhostUser;

/// <summary>Requests of a front-end (vhost-user, "Front-end message types").</summary>
public enum FrontEndRequest : uint
{
    /// <summary>No request.</summary>
    None = 0,

    /// <summary>Reply: the feature bits that the back-end offers.</summary>
    GetFeatures = 1,

    /// <summary>The feature bits that are used.</summary>
    SetFeatures = 2,

    /// <summary>A front-end takes the session.</summary>
    SetOwner = 3,

    /// <summary>Deprecated; disables all rings.</summary>
    ResetOwner = 4,

    /// <summary>All memory regions, with a descriptor each.</summary>
    SetMemoryTable = 5,

    /// <summary>The dirty log's memory, with its descriptor.</summary>
    SetLogBase = 6,

    /// <summary>An eventfd that announces changes of the dirty log.</summary>
    SetLogFd = 7,

    /// <summary>A ring's size.</summary>
    SetVringNum = 8,

    /// <summary>Where a ring's three areas lie.</summary>
    SetVringAddress = 9,

    /// <summary>Where a ring continues.</summary>
    SetVringBase = 10,

    /// <summary>Stops a ring. Reply: where it stands.</summary>
    GetVringBase = 11,

    /// <summary>The eventfd that the driver signals; starts a ring.</summary>
    SetVringKick = 12,

    /// <summary>The eventfd that interrupts the driver.</summary>
    SetVringCall = 13,

    /// <summary>The eventfd that announces a broken ring.</summary>
    SetVringError = 14,

    /// <summary>Reply: the protocol features that the back-end offers.</summary>
    GetProtocolFeatures = 15,

    /// <summary>The protocol features that are used.</summary>
    SetProtocolFeatures = 16,

    /// <summary>Reply: the greatest number of queues.</summary>
    GetQueueNum = 17,

    /// <summary>Enables or disables a ring.</summary>
    SetVringEnable = 18,

    /// <summary>Network devices only.</summary>
    SendRarp = 19,

    /// <summary>Network devices only.</summary>
    SetMtu = 20,

    /// <summary>The socket for requests of the back-end.</summary>
    SetBackendRequestFd = 21,

    /// <summary>Updates of a device IOTLB.</summary>
    IotlbMessage = 22,

    /// <summary>Endianness of a legacy ring.</summary>
    SetVringEndian = 23,

    /// <summary>Reply: device configuration space.</summary>
    GetConfig = 24,

    /// <summary>Writes device configuration space.</summary>
    SetConfig = 25,

    /// <summary>Crypto devices only.</summary>
    CreateCryptoSession = 26,

    /// <summary>Crypto devices only.</summary>
    CloseCryptoSession = 27,

    /// <summary>Post-copy migration.</summary>
    PostcopyAdvise = 28,

    /// <summary>Post-copy migration.</summary>
    PostcopyListen = 29,

    /// <summary>Post-copy migration.</summary>
    PostcopyEnd = 30,

    /// <summary>Reply: a new in-flight area, with its descriptor.</summary>
    GetInFlightFd = 31,

    /// <summary>The in-flight area of an earlier session, with its descriptor.</summary>
    SetInFlightFd = 32,

    /// <summary>Graphics devices only.</summary>
    GpuSetSocket = 33,

    /// <summary>Resets the device.</summary>
    ResetDevice = 34,

    /// <summary>A kick as a message.</summary>
    VringKick = 35,

    /// <summary>Reply: the greatest number of memory regions.</summary>
    GetMaxMemorySlots = 36,

    /// <summary>Adds one memory region, with its descriptor.</summary>
    AddMemoryRegion = 37,

    /// <summary>Removes one memory region.</summary>
    RemoveMemoryRegion = 38,

    /// <summary>The virtio device status.</summary>
    SetStatus = 39,

    /// <summary>Reply: the virtio device status.</summary>
    GetStatus = 40,
}
