using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.Plugins.File;

/// <summary>Where a request stands.</summary>
internal enum FileStep : byte
{
    /// <summary>Moving data.</summary>
    Transfer,

    /// <summary>Waiting for fdatasync.</summary>
    Sync,

    /// <summary>Punching a hole, for a discard.</summary>
    Discard,

    /// <summary>Punching a hole, for zeroes.</summary>
    PunchZeroes,

    /// <summary>Zeroing a range without deallocating it.</summary>
    ZeroRange,

    /// <summary>Writing zeroes, where the file system can do neither.</summary>
    WriteZeroes,
}

/// <summary>
/// A request under way. It is the queue's own memory, so that a completion that comes after the host gave up on the request touches
/// nothing of the submitter's. Exactly one system call is under way for a slot at a time.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct FileSlot
{
    /// <summary>The request; null when its channel was closed meanwhile.</summary>
    public BlockRequest* Request;

    /// <summary>First byte in the file.</summary>
    public ulong Offset;

    /// <summary>Length of the range.</summary>
    public ulong TotalBytes;

    /// <summary>How much of it is done.</summary>
    public ulong DoneBytes;

    /// <summary>Where <see cref="DoneBytes"/> lies in the segments: which one.</summary>
    public int SegmentIndex;

    /// <summary>Index of the channel in its queue.</summary>
    public int Channel;

    /// <summary>Where <see cref="DoneBytes"/> lies in the segments: how far into it.</summary>
    public nuint SegmentOffset;

    /// <summary>Links free slots, slots to be issued again, and slots that a worker has finished. One list at a time.</summary>
    public int Next;

    /// <summary>Index of the bounce buffer, or -1.</summary>
    public int Bounce;

    /// <summary>Result of a worker.</summary>
    public int Result;

    /// <summary>How often the kernel said EAGAIN or EINTR in a row.</summary>
    public int Retries;

    /// <summary>Where the request stands.</summary>
    public FileStep Step;

    /// <summary>Whether its data goes through a bounce buffer.</summary>
    public bool IsBounced;
}
