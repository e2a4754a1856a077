using System.Runtime.CompilerServices;
using Vhost.Abstractions;

namespace Vhost.Pci;

/// <summary>
/// What a driver keeps of a block request that may take several commands: an overlay of <see cref="BlockRequest.BdevScratch"/>.
/// </summary>
public unsafe struct RequestProgress
{
    /// <summary>Position in the segments from which the next command goes on.</summary>
    public nuint SegmentOffset;

    /// <summary>Blocks that commands were issued for.</summary>
    public ulong BlocksIssued;

    /// <summary>The next request that waits for a command slot.</summary>
    public BlockRequest* Next;

    /// <summary>Segment from which the next command goes on.</summary>
    public int SegmentIndex;

    /// <summary>Commands that were issued and not answered.</summary>
    public int Outstanding;

    /// <summary>The channel's index in the queue pair.</summary>
    public int ChannelIndex;

    /// <summary>The first failure.</summary>
    public BlockStatus Status;

    /// <summary>Whether the request waits for a slot.</summary>
    public bool IsPending;

    /// <summary>Whether an abort was asked for: no further command is issued.</summary>
    public bool IsAborted;

    /// <summary>The overlay of a request.</summary>
    /// <param name="request">The request; it belongs to the driver.</param>
    // SAFETY: the scratch is 48 bytes and 8-aligned, this struct is 40; the request stays where it is until completion.
    public static ref RequestProgress Of(BlockRequest* request) => ref Unsafe.As<BlockRequestScratch6, RequestProgress>(ref request->BdevScratch);
}
