namespace Vhost.VfioUser;

/// <summary>Commands of the vfio-user protocol (vfio-user specification, Commands).</summary>
public enum VfioUserCommand : ushort
{
    /// <summary>Negotiates version and capabilities; the client's first message.</summary>
    Version = 1,

    /// <summary>Makes memory of the client reachable for the device.</summary>
    DmaMap = 2,

    /// <summary>Ends what <see cref="DmaMap"/> began.</summary>
    DmaUnmap = 3,

    /// <summary>Numbers of regions and interrupt types.</summary>
    DeviceGetInfo = 4,

    /// <summary>Size, rights and mapping of a region.</summary>
    DeviceGetRegionInfo = 5,

    /// <summary>Eventfds that stand for writes to parts of a region.</summary>
    DeviceGetRegionIoFds = 6,

    /// <summary>Number and kind of an interrupt type's vectors.</summary>
    DeviceGetIrqInfo = 7,

    /// <summary>Sets, masks or triggers interrupts.</summary>
    DeviceSetIrqs = 8,

    /// <summary>Reads from a region.</summary>
    RegionRead = 9,

    /// <summary>Writes to a region.</summary>
    RegionWrite = 10,

    /// <summary>Server to client: reads memory of the client.</summary>
    DmaRead = 11,

    /// <summary>Server to client: writes memory of the client.</summary>
    DmaWrite = 12,

    /// <summary>Resets the device.</summary>
    DeviceReset = 13,

    /// <summary>Several small writes to regions in one message.</summary>
    RegionWriteMulti = 15,

    /// <summary>Optional features; none is offered here.</summary>
    DeviceFeature = 16,

    /// <summary>Migration data; not offered here.</summary>
    MigrationDataRead = 17,

    /// <summary>Migration data; not offered here.</summary>
    MigrationDataWrite = 18,
}
