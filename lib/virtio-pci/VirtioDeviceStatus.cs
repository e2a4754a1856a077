namespace Vhost.VirtioPci;

/// <summary>The device status field (virtio 1.3, section 2.1).</summary>
[Flags]
public enum VirtioDeviceStatus : byte
{
    /// <summary>Reset.</summary>
    None = 0,

    /// <summary>The device was noticed.</summary>
    Acknowledge = 1,

    /// <summary>A driver is there.</summary>
    Driver = 2,

    /// <summary>The driver is ready.</summary>
    DriverOk = 4,

    /// <summary>Features are agreed on.</summary>
    FeaturesOk = 8,

    /// <summary>The device failed and wants a reset.</summary>
    NeedsReset = 0x40,

    /// <summary>The driver gave the device up.</summary>
    Failed = 0x80,
}
