namespace Vhost.Abstractions;

/// <summary>What a block request asks for.</summary>
public enum BlockOperation : byte
{
    /// <summary>Blocks to memory.</summary>
    Read = 0,

    /// <summary>Memory to blocks.</summary>
    Write = 1,

    /// <summary>Every write that was completed before this request was submitted is on stable storage when it completes. No blocks, no data.</summary>
    Flush = 2,

    /// <summary>The blocks' content is no longer needed. Reads afterwards give anything that was there before, or zeroes. No data.</summary>
    Discard = 3,

    /// <summary>The blocks read as zeroes afterwards. No data. See <see cref="BlockRequestFlags.MayUnmap"/>.</summary>
    WriteZeroes = 4,

    /// <summary>Compares the blocks with memory; <see cref="BlockStatus.Miscompare"/> if they differ.</summary>
    Compare = 5,

    /// <summary>
    /// Atomically compares the blocks with the first half of the data and, if they are equal, writes the second half.
    /// The data is twice <see cref="BlockRequest.BlockCount"/> blocks long.
    /// </summary>
    CompareAndWrite = 6,
}
