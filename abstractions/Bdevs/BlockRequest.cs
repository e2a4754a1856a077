using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Abstractions;

/// <summary>
/// One block request. It lives in native memory of the submitter, which neither moves nor frees nor changes it between submission and
/// completion; in between it belongs to the bdev. Unmanaged, so that no request costs an allocation.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct BlockRequest
{
    /// <summary>What to do.</summary>
    public BlockOperation Operation;

    /// <summary>Modifiers.</summary>
    public BlockRequestFlags Flags;

    /// <summary>Set by the bdev before completion.</summary>
    public BlockStatus Status;

    /// <summary>For the host: recognises a completion that comes late or twice. Submitters zero it once; bdevs leave it alone.</summary>
    public byte HostState;

    /// <summary>Number of <see cref="Segments"/>; 0 for operations without data.</summary>
    public int SegmentCount;

    /// <summary>First block, in units of <see cref="BdevInfo.BlockSizeBytes"/>.</summary>
    public ulong StartBlock;

    /// <summary>Number of blocks; 0 only for <see cref="BlockOperation.Flush"/>.</summary>
    public ulong BlockCount;

    /// <summary>The data, in order. Lengths need not be multiples of a block; their sum is that of the range (twice that for <see cref="BlockOperation.CompareAndWrite"/>).</summary>
    public IoSegment* Segments;

    /// <summary>Additional result, by <see cref="Status"/>: the byte offset of a miscompare; else 0.</summary>
    public ulong Information;

    /// <summary>The submitter's own; bdevs and host leave it alone.</summary>
    public nint SubmitterContext;

    /// <summary>The host's own; bdevs and submitters leave it alone.</summary>
    public BlockRequestScratch2 HostScratch;

    /// <summary>The bdev's own between submission and completion; its content at submission is undefined.</summary>
    public BlockRequestScratch6 BdevScratch;
}

/// <summary>Two words that belong to the host while a request is under way.</summary>
[InlineArray(2)]
public struct BlockRequestScratch2
{
    private ulong _word;
}

/// <summary>Six words that belong to the bdev while a request is under way.</summary>
[InlineArray(6)]
public struct BlockRequestScratch6
{
    private ulong _word;
}
