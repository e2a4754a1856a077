namespace Vhost.Plugins.Nvme.Protocol;

/// <summary>Controller registers in BAR 0 (NVM Express Base 2.0, section 3.1.3) and the fields of them that the driver uses.</summary>
internal static class NvmeRegister
{
    public const ulong Capabilities = 0x00;
    public const ulong Version = 0x08;
    public const ulong InterruptMaskSet = 0x0c;
    public const ulong InterruptMaskClear = 0x10;
    public const ulong Configuration = 0x14;
    public const ulong Status = 0x1c;
    public const ulong AdminQueueAttributes = 0x24;
    public const ulong AdminSubmissionQueueBase = 0x28;
    public const ulong AdminCompletionQueueBase = 0x30;
    public const ulong Doorbells = 0x1000;

    /// <summary>CC.EN.</summary>
    public const uint ConfigurationEnable = 1;

    /// <summary>CC: 64-byte submission entries (IOSQES), 16-byte completion entries (IOCQES), 4096-byte pages, NVM command set, round robin.</summary>
    public const uint ConfigurationEntrySizes = (6u << 16) | (4u << 20);

    /// <summary>CC.SHN: normal shutdown.</summary>
    public const uint ConfigurationShutdownNormal = 1u << 14;

    /// <summary>CSTS.RDY.</summary>
    public const uint StatusReady = 1;

    /// <summary>CSTS.CFS: controller fatal status.</summary>
    public const uint StatusFatal = 2;

    /// <summary>CSTS.SHST: mask, and the value of a completed shutdown.</summary>
    public const uint StatusShutdownMask = 3u << 2;

    /// <summary>CSTS.SHST: shutdown complete.</summary>
    public const uint StatusShutdownComplete = 2u << 2;

    /// <summary>What a register of a device reads as that is no longer there.</summary>
    public const uint Gone = uint.MaxValue;
}
