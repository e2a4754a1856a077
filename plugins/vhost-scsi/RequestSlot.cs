using System.Runtime.InteropServices;
using Vhost.Scsi;

namespace Vhost.Plugins.VhostScsi;

/// <summary>A request queue's private area of each request. The task comes first, and the block request first in it, so that one pointer finds all.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct RequestSlot
{
    public ScsiTask Task;

    /// <summary>Both buffers' length: what the residual counts from.</summary>
    public ulong DataBytes;

    /// <summary>The lun field.</summary>
    public ulong Lun;

    /// <summary>The id field: the driver's tag.</summary>
    public ulong Id;

    /// <summary>The response header in guest memory if it is in one piece, else null.</summary>
    public byte* ResponseHeader;

    /// <summary>How many of the buffer's pieces the response header begins in, where the last one is shared with data.</summary>
    public int DataInIndex;

    /// <summary>How much of that piece is header.</summary>
    public int DataInCut;

    /// <summary>What the driver gets if the task is aborted.</summary>
    public Response AbortResponse;

    /// <summary>Of a copy: the target that its block request is for.</summary>
    public byte Elsewhere;

    /// <summary>Whether a task management function waits for the request.</summary>
    public bool IsAwaited;
}
