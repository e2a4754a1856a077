namespace Vhost.Testing.DeviceModels.VirtioScsi;

/// <summary>What an HBA offers, and how it misbehaves.</summary>
public sealed class VirtioScsiSettings : PciModelSettings
{
    public bool IsPacked { get; set; }

    public bool HasIndirect { get; set; } = true;

    /// <summary>VIRTIO_F_VERSION_1: without it the device is a legacy one.</summary>
    public bool IsModern { get; set; } = true;

    public ushort DeviceId { get; set; } = 0x1048;

    public int QueueSize { get; set; } = 128;

    public uint RequestQueues { get; set; } = 4;

    public uint MaxSegments { get; set; } = 62;

    public ulong BarLengthBytes { get; set; } = 0x8000;

    /// <summary>Where the capability says that the common configuration lies.</summary>
    public uint CommonOffset { get; set; }

    /// <summary>Where the capability says that the notification structure lies.</summary>
    public uint NotifyOffset { get; set; } = 0x3000;

    public bool HasCommonCapability { get; set; } = true;

    /// <summary>Makes the list of capabilities point to itself.</summary>
    public bool LoopsCapabilities { get; set; }

    /// <summary>Rewrites data-in of a command: target, operation code, data.</summary>
    public Func<int, byte, byte[], byte[]>? PatchData { get; set; }

    /// <summary>What becomes of a command; on the model's thread.</summary>
    public Func<int, byte, VirtioScsiFault>? OnCommand { get; set; }

    /// <summary>Whether ABORT TASK ends commands that are held.</summary>
    public bool AbortsHeldCommands { get; set; } = true;
}

/// <summary>What becomes of a command.</summary>
public enum VirtioScsiFault
{
    None,

    /// <summary>Not answered, unless it is aborted.</summary>
    Hold,

    /// <summary>Done some time later, up to 1 s. What is under way when the driver is lost is done at once, before the next reset has ended, or never.</summary>
    Late,

    /// <summary>Given back twice.</summary>
    Twice,

    /// <summary>Given back so often that the ring is full of it.</summary>
    Flood,

    /// <summary>Given back under an id that nobody sent.</summary>
    ForeignId,

    /// <summary>Status BUSY.</summary>
    Busy,

    /// <summary>Status TASK SET FULL.</summary>
    TaskSetFull,

    /// <summary>CHECK CONDITION, UNIT ATTENTION 29h/00h.</summary>
    UnitAttention,

    /// <summary>Status GOOD with half of the data.</summary>
    Short,

    /// <summary>CHECK CONDITION, MEDIUM ERROR.</summary>
    MediumError,
}
