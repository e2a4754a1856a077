using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.Plugins.VhostBlk;

/// <summary>The private area of a virtio request. It begins with the block request, so that a completed one leads back here.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct BlkRequest
{
    /// <summary>What the bdev gets.</summary>
    public BlockRequest Block;

    /// <summary>Where the guest looks for the status.</summary>
    public byte* Status;

    /// <summary>Bytes of the device-writable part when all goes well, with the status.</summary>
    public uint WrittenBytes;

    /// <summary>Ranges of a discard or write-zeroes that were submitted.</summary>
    public int RangesDone;

    /// <summary>Ranges of a discard or write-zeroes; 0 for all other requests.</summary>
    public int RangeCount;

    /// <summary>The ranges, copied from the guest once.</summary>
    public BlkRanges Ranges;

    /// <summary>Prepares the block request for the next range. There is one.</summary>
    public void TakeRange()
    {
        ref readonly var range = ref Ranges[RangesDone++];
        Block.StartBlock = range.StartBlock;
        Block.BlockCount = range.BlockCount;
        Block.Flags = range.Flags;
        Block.SegmentCount = 0;
    }
}

/// <summary>A range of a discard or write-zeroes, checked, in blocks of the bdev.</summary>
internal struct BlkRange
{
    /// <summary>First block.</summary>
    public ulong StartBlock;

    /// <summary>Number of blocks.</summary>
    public uint BlockCount;

    /// <summary>For the block request.</summary>
    public BlockRequestFlags Flags;
}

/// <summary>Room for the ranges of one request.</summary>
[InlineArray(BlkLimits.MaxRanges)]
internal struct BlkRanges
{
    private BlkRange _range;
}
