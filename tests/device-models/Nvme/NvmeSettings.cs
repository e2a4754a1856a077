namespace Vhost.Testing.DeviceModels.Nvme;

/// <summary>What a controller offers, and how it misbehaves. Changed while the controller is disabled or idle.</summary>
public sealed class NvmeSettings : PciModelSettings
{
    /// <summary>CAP: 1024 entries, contiguous queues, ready within 2 s, NVM command set, pages of 4096 bytes.</summary>
    public ulong Capabilities { get; set; } = 1023 | (1UL << 16) | (4UL << 24) | (1UL << 37);

    public ulong BarLengthBytes { get; set; } = 0x4000;

    /// <summary>MDTS: 4096 bytes to this power of two; 0 for no limit.</summary>
    public byte MaxTransferShift { get; set; } = 5;

    /// <summary>SGLS bits 1:0: 0 none, 1 any alignment, 2 dwords.</summary>
    public byte Sgl { get; set; }

    public bool HasDoorbellBuffers { get; set; }

    /// <summary>Whether doorbells can be mapped; else each is a message.</summary>
    public bool MapsDoorbells { get; set; } = true;

    /// <summary>I/O queue pairs that Set Features grants, 0-based, as the completion's dword 0 has them.</summary>
    public uint QueueGrant { get; set; } = 7 | (7 << 16);

    public uint ClassCode { get; set; } = 0x010802;

    /// <summary>Rewrites the Identify Controller data.</summary>
    public Action<byte[]>? PatchController { get; set; }

    /// <summary>Rewrites the Identify Namespace data.</summary>
    public Action<uint, byte[]>? PatchNamespace { get; set; }

    /// <summary>What becomes of an I/O command; on the model's thread.</summary>
    public Func<NvmeModelCommand, NvmeFault>? OnIo { get; set; }

    /// <summary>What becomes of an admin command.</summary>
    public Func<NvmeModelCommand, NvmeFault>? OnAdmin { get; set; }

    /// <summary>CSTS.RDY never becomes 1.</summary>
    public bool NeverReady { get; set; }

    /// <summary>Whether Abort ends commands that are held.</summary>
    public bool AbortsHeldCommands { get; set; } = true;
}

/// <summary>What becomes of a command.</summary>
public enum NvmeFault
{
    None,

    /// <summary>It is done and never answered, unless it is aborted.</summary>
    Hold,

    /// <summary>Answered twice.</summary>
    Twice,

    /// <summary>Answered under an id that nobody sent, and not under its own.</summary>
    ForeignId,

    /// <summary>Answered with another submission queue's id.</summary>
    ForeignQueue,

    /// <summary>The completion's phase bit has the old value.</summary>
    OldPhase,

    /// <summary>The controller fills half the completion queue with completions of this command's id.</summary>
    Flood,

    /// <summary>Unrecovered read error.</summary>
    MediaError,

    /// <summary>CSTS.CFS is set and nothing is answered any more.</summary>
    Fatal,
}

/// <summary>A submission queue entry as the model reads it (NVM Express Base 2.0, figure 87).</summary>
public readonly record struct NvmeModelCommand(
    int QueueId, byte Opcode, byte Flags, ushort Id, uint NamespaceId, ulong Data1, ulong Data2, uint Dword10, uint Dword11, uint Dword12);
