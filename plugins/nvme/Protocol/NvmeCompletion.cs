using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.Plugins.Nvme.Protocol;

/// <summary>A completion queue entry (NVM Express Base 2.0, figure 90), 16 bytes, copied out of the queue once.</summary>
[StructLayout(LayoutKind.Sequential, Size = 16)]
internal readonly struct NvmeCompletion
{
    public readonly uint Dword0;
    public readonly uint Dword1;
    public readonly ushort SubmissionQueueHead;
    public readonly ushort SubmissionQueueId;
    public readonly ushort CommandId;
    public readonly ushort StatusAndPhase;

    /// <summary>A status of the driver's own for commands that got no answer.</summary>
    public NvmeCompletion(ushort status)
    {
        StatusAndPhase = (ushort)(status << 1);
    }

    /// <summary>Status code type in bits 10:8, status code in bits 7:0; 0 is success.</summary>
    public int Status => (StatusAndPhase >> 1) & 0x7ff;

    /// <summary>Whether a repetition would fail as well.</summary>
    public bool DoNotRetry => (StatusAndPhase & 0x8000) != 0;

    /// <summary>What the status means to a block request.</summary>
    public BlockStatus ToBlockStatus() => Status switch
    {
        0x000 => BlockStatus.Success,
        0x001 or 0x002 => BlockStatus.Unsupported,
        0x007 or 0x008 => BlockStatus.Aborted,
        0x00b => BlockStatus.NoDevice,
        0x020 or 0x182 => BlockStatus.ReadOnly,
        0x080 => BlockStatus.OutOfRange,
        0x081 => BlockStatus.NoSpace,
        0x082 => BlockStatus.Busy,
        0x083 => BlockStatus.ReservationConflict,
        0x285 => BlockStatus.Miscompare,
        _ => BlockStatus.IoError,
    };

    /// <summary>For logs: type, code, and the names that help.</summary>
    public string Describe() => Status switch
    {
        0x001 => "invalid command opcode (0x001)",
        0x002 => "invalid field in command (0x002)",
        0x004 => "data transfer error (0x004)",
        0x006 => "internal error (0x006)",
        0x007 => "abort requested (0x007)",
        0x008 => "aborted because its queue was deleted (0x008)",
        0x00b => "invalid namespace or format (0x00b)",
        0x080 => "LBA out of range (0x080)",
        0x101 => "invalid queue identifier (0x101)",
        0x102 => "invalid queue size (0x102)",
        0x280 => "write fault (0x280)",
        0x281 => "unrecovered read error (0x281)",
        _ => $"status type {Status >> 8}, code 0x{Status & 0xff:x2}",
    };
}
