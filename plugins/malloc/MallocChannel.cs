using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Plugins.Malloc;

/// <summary>Copies between guest memory and the blocks. It has no state, so each reactor's channel works on the same memory beside the others.</summary>
/// <param name="memory">The blocks.</param>
/// <param name="blockSizeBytes">Size of one.</param>
/// <param name="completions">Takes the completions.</param>
// SAFETY: the host has checked that each range lies within the bdev and that the segments are as long as the range; Transfer
// checks the latter again, because the memory behind the blocks is this process's own.
internal sealed unsafe class MallocChannel(BlockMemory memory, uint blockSizeBytes, IBdevCompletions completions) : IBdevChannel
{
    private const ulong EarlyBytes = 256 << 10;

    /// <inheritdoc/>
    public void Submit(ReadOnlySpan<BlockRequestPointer> requests)
    {
        var first = 0;
        var copiedBytes = 0UL;
        for (var i = 0; i < requests.Length; i++)
        {
            ref var request = ref requests[i].Value;
            request.Information = 0;
            copiedBytes += (ulong)request.BlockCount * blockSizeBytes;
            request.Status = request.Operation switch
            {
                BlockOperation.Read or BlockOperation.Write => Transfer(ref request, i + 1 < requests.Length ? BlocksOf(ref requests[i + 1].Value) : null),
                BlockOperation.Flush => BlockStatus.Success,
                BlockOperation.Discard or BlockOperation.WriteZeroes => Zero(ref request),
                _ => BlockStatus.Unsupported,
            };
            if (copiedBytes >= EarlyBytes && i + 1 < requests.Length)
            {
                // Large requests: the guest takes these and sends the next while the rest is copied.
                completions.OnCompleted(requests[first..(i + 1)]);
                first = i + 1;
                copiedBytes = 0;
            }
        }

        completions.OnCompleted(requests[first..]);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    /// <summary>The blocks of a request that moves data; null where there is nothing worth a prefetch. They are what is far: the guest has just used its buffer.</summary>
    private byte* BlocksOf(ref BlockRequest request) =>
        request.Operation is BlockOperation.Read or BlockOperation.Write ? memory.Address + ((nuint)request.StartBlock * blockSizeBytes) : null;

    private BlockStatus Transfer(ref BlockRequest request, byte* nextBlocks)
    {
        var blocks = memory.Address + ((nuint)request.StartBlock * blockSizeBytes);
        var left = (nuint)request.BlockCount * blockSizeBytes;
        for (var i = 0; i < request.SegmentCount; i++)
        {
            var segment = request.Segments[i];
            if (segment.LengthBytes > left)
            {
                return BlockStatus.OutOfRange;
            }

            if (request.Operation == BlockOperation.Read)
            {
                BlockCopy.Copy(segment.Address, blocks, segment.LengthBytes, nextBlocks);
            }
            else
            {
                BlockCopy.Copy(blocks, segment.Address, segment.LengthBytes, nextBlocks);
            }

            blocks += segment.LengthBytes;
            left -= segment.LengthBytes;
        }

        return left == 0 ? BlockStatus.Success : BlockStatus.OutOfRange;
    }

    private BlockStatus Zero(ref BlockRequest request)
    {
        try
        {
            memory.Zero((nuint)request.StartBlock * blockSizeBytes, (nuint)request.BlockCount * blockSizeBytes);
            return BlockStatus.Success;
        }
        catch (LinuxException)
        {
            return BlockStatus.IoError;
        }
    }
}
