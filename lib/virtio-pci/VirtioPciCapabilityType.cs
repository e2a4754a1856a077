namespace Vhost.VirtioPci;

/// <summary>The structure types of <see cref="VirtioPciCapability"/> (virtio 1.3, section 4.1.4).</summary>
public static class VirtioPciCapabilityType
{
    /// <summary>Common configuration.</summary>
    public const byte Common = 1;

    /// <summary>Notifications.</summary>
    public const byte Notify = 2;

    /// <summary>ISR status.</summary>
    public const byte Isr = 3;

    /// <summary>Device-specific configuration.</summary>
    public const byte Device = 4;
}
