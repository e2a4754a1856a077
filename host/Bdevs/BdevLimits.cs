using System.Numerics;
using System.Runtime.CompilerServices;
using Vhost.Abstractions;

namespace Vhost.Host.Bdevs;

/// <summary>What the port does with a request. Negative values are a <see cref="BlockStatus"/>, negated.</summary>
internal enum Verdict
{
    /// <summary>Goes to the bdev as it is.</summary>
    Pass = 0,

    /// <summary>The host does it by other operations.</summary>
    Emulate = 1,

    /// <summary>There is nothing to do: it succeeds.</summary>
    Done = 2,
}

/// <summary>A bdev's <see cref="BdevInfo"/> at one time, prepared for checking requests. Immutable.</summary>
internal sealed class BdevLimits
{
    private const int OperationCount = (int)BlockOperation.CompareAndWrite + 1;

    private const BlockOperations WriteOperations =
        BlockOperations.Write | BlockOperations.Discard | BlockOperations.WriteZeroes | BlockOperations.CompareAndWrite;

    private const BlockOperations DataOperations =
        BlockOperations.Read | BlockOperations.Write | BlockOperations.Compare | BlockOperations.CompareAndWrite;

    private const BlockOperations DurableOperations = BlockOperations.Write | BlockOperations.WriteZeroes | BlockOperations.CompareAndWrite;

    private readonly ulong _blockCount;
    private readonly int _operationLimit;
    private readonly uint _native;
    private readonly uint _emulated;
    private readonly uint _refused;
    private readonly uint _flushedAfter;
    private readonly ulong _atomicBlocks;

    private BdevLimits(BdevInfo raw, bool isQuarantined)
    {
        IsQuarantined = isQuarantined;
        _operationLimit = isQuarantined ? 0 : OperationCount;
        BlockShift = BitOperations.Log2(raw.BlockSizeBytes);
        _blockCount = raw.BlockCount;
        var isReadOnly = raw.IsReadOnly || !raw.Operations.HasFlag(BlockOperations.Write);
        var emulated = BlockOperations.Flush | BlockOperations.Compare;
        if (!isReadOnly)
        {
            emulated |= BlockOperations.WriteZeroes | BlockOperations.CompareAndWrite;
        }

        emulated &= ~raw.Operations;
        _native = (uint)raw.Operations;
        _emulated = (uint)emulated;
        _refused = isReadOnly ? (uint)WriteOperations : 0;
        _atomicBlocks = isReadOnly ? 0 : raw.AtomicWriteBlocks;
        _flushedAfter = !raw.HasForceUnitAccess && raw.HasVolatileWriteCache ? (uint)DurableOperations : 0;
        PortInfo = raw with
        {
            Operations = (raw.Operations | emulated) & ~(isReadOnly ? WriteOperations : BlockOperations.None),
            IsReadOnly = isReadOnly,
            HasForceUnitAccess = true,
            AtomicWriteBlocks = (uint)_atomicBlocks,
        };
    }

    /// <summary>What the users of the port see: with what the host emulates.</summary>
    internal BdevInfo PortInfo { get; }

    /// <summary>log2 of the block size.</summary>
    internal int BlockShift { get; }

    /// <summary>Whether the bdev broke its contract and gets no more requests.</summary>
    internal bool IsQuarantined { get; }

    /// <summary>Prepares an info.</summary>
    /// <param name="raw">What the bdev says; checked by <see cref="FindFault"/>.</param>
    /// <param name="isQuarantined">Whether every request fails.</param>
    internal static BdevLimits Create(BdevInfo raw, bool isQuarantined = false) => new(raw, isQuarantined);

    /// <summary>Says what is impossible about an info, or null.</summary>
    /// <param name="info">What a bdev says about itself.</param>
    internal static string? FindFault(BdevInfo info)
    {
        if (info.BlockSizeBytes is < 512 or > 65536 || !BitOperations.IsPow2(info.BlockSizeBytes))
        {
            return $"the block size {info.BlockSizeBytes} is not a power of two from 512 to 65536";
        }

        if (info.BlockCount == 0)
        {
            return "it has no blocks";
        }

        if (info.BlockCount > (ulong)long.MaxValue / info.BlockSizeBytes)
        {
            return $"{info.BlockCount} blocks of {info.BlockSizeBytes} bytes do not fit in a signed 64-bit number of bytes";
        }

        if (!info.Operations.HasFlag(BlockOperations.Read))
        {
            return "it cannot read";
        }

        if (info.HasVolatileWriteCache && !info.Operations.HasFlag(BlockOperations.Flush))
        {
            return "it has a volatile write cache and cannot flush it";
        }

        if (info.PhysicalBlockSizeBytes != 0 && (info.PhysicalBlockSizeBytes < info.BlockSizeBytes || info.PhysicalBlockSizeBytes % info.BlockSizeBytes != 0))
        {
            return $"the physical block size {info.PhysicalBlockSizeBytes} is not a multiple of the block size {info.BlockSizeBytes}";
        }

        return string.IsNullOrEmpty(info.ProductName) ? "it has no product name" : null;
    }

    /// <summary>Whether an operation changes blocks.</summary>
    /// <param name="operation">The operation.</param>
    internal static bool IsWrite(BlockOperation operation) => (((uint)WriteOperations >> (int)operation) & 1) != 0;

    /// <summary>Decides about a request: range, length, operation, write protection. Nothing is added that could overflow.</summary>
    /// <param name="request">The request.</param>
    // SAFETY: the submitter keeps the request and its segment list alive and unchanged until completion.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal unsafe Verdict Check(BlockRequest* request)
    {
        var operation = (int)request->Operation;
        if (operation >= _operationLimit)
        {
            return Refuse(IsQuarantined ? BlockStatus.IoError : BlockStatus.Unsupported);
        }

        var bit = 1u << operation;
        if (operation == (int)BlockOperation.Flush)
        {
            return (_native & bit) != 0 ? Verdict.Pass : Verdict.Done;
        }

        var count = request->BlockCount;
        var start = request->StartBlock;
        if (count == 0 || start >= _blockCount || count > _blockCount - start)
        {
            return Refuse(BlockStatus.OutOfRange);
        }

        if ((_refused & bit) != 0)
        {
            return Refuse(BlockStatus.ReadOnly);
        }

        if (((uint)DataOperations & bit) != 0)
        {
            // At most 2^63 - 1 for a range within the bdev, so doubling it does not overflow.
            var expected = count << BlockShift;
            if (operation == (int)BlockOperation.CompareAndWrite)
            {
                expected <<= 1;
            }

            var segments = request->Segments;
            var left = expected;
            for (var i = 0; i < request->SegmentCount; i++)
            {
                var length = (ulong)segments[i].LengthBytes;
                if (length > left)
                {
                    return Refuse(BlockStatus.OutOfRange);
                }

                left -= length;
            }

            if (left != 0)
            {
                return Refuse(BlockStatus.OutOfRange);
            }
        }

        if ((_native & bit) != 0)
        {
            var flags = request->Flags & (BlockRequestFlags.ForceUnitAccess | BlockRequestFlags.Atomic);
            return flags == 0 ? Verdict.Pass : CheckFlags(flags, operation, count);
        }

        return (_emulated & bit) != 0 ? Verdict.Emulate : Refuse(BlockStatus.Unsupported);
    }

    private Verdict CheckFlags(BlockRequestFlags flags, int operation, ulong count)
    {
        if ((flags & BlockRequestFlags.Atomic) != 0 && operation == (int)BlockOperation.Write)
        {
            return count <= _atomicBlocks ? Verdict.Emulate : Refuse(BlockStatus.Unsupported);
        }

        return (flags & BlockRequestFlags.ForceUnitAccess) != 0 && ((_flushedAfter >> operation) & 1) != 0 ? Verdict.Emulate : Verdict.Pass;
    }

    /// <summary>Whether a request uses its range alone: the host does it while it keeps others away.</summary>
    /// <param name="request">A request that is emulated.</param>
    // SAFETY: the request is alive: it is being submitted.
    internal unsafe bool TakesRange(BlockRequest* request) =>
        request->Operation == BlockOperation.CompareAndWrite
            ? !IsNative(BlockOperation.CompareAndWrite)
            : request->Operation == BlockOperation.Write && (request->Flags & BlockRequestFlags.Atomic) != 0;

    /// <summary>Whether the bdev itself does an operation.</summary>
    /// <param name="operation">The operation.</param>
    internal bool IsNative(BlockOperation operation) => ((_native >> (int)operation) & 1) != 0;

    /// <summary>Whether a flush has to follow for force unit access.</summary>
    /// <param name="operation">The operation.</param>
    internal bool NeedsFlushAfter(BlockOperation operation) => ((_flushedAfter >> (int)operation) & 1) != 0;

    private static Verdict Refuse(BlockStatus status) => (Verdict)(-(int)status);
}
