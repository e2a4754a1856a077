using CsCheck;
using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.ContractKit;

/// <summary>One random operation of the model test.</summary>
public sealed record BdevStep(BlockOperation Operation, int Start, int Count, int Seed, BlockRequestFlags Flags, int Misalignment, int[] Cuts)
{
    private static readonly int[] Misalignments = [0, 0, 0, 1, 7, 64, 511];

    /// <summary>Operations within a window of blocks.</summary>
    /// <param name="window">Number of blocks.</param>
    /// <param name="operations">What the bdev can.</param>
    /// <param name="blockSize">Its block size.</param>
    public static Gen<BdevStep> Gen(int window, BlockOperations operations, int blockSize)
    {
        var able = Enum.GetValues<BlockOperation>().Where(o => ((int)operations & (1 << (int)o)) != 0 && o < BlockOperation.Compare).ToArray();
        var count = CsCheck.Gen.Frequency((6, CsCheck.Gen.Int[1, Math.Min(window, 16)]), (2, CsCheck.Gen.Int[1, window]));
        return CsCheck.Gen.Select(
            CsCheck.Gen.OneOf(Array.ConvertAll(able, CsCheck.Gen.Const)),
            CsCheck.Gen.Int[0, window - 1],
            count,
            CsCheck.Gen.Int[1, int.MaxValue - 1],
            CsCheck.Gen.Int[0, 3],
            CsCheck.Gen.Int[0, 6].Select(choice => Misalignments[choice]),
            CsCheck.Gen.Int[0, window * blockSize].Array[0, 4],
            (operation, start, blocks, seed, flags, misalignment, cuts) =>
            {
                Array.Sort(cuts);
                var allowed = operation switch
                {
                    BlockOperation.Write => BlockRequestFlags.ForceUnitAccess,
                    BlockOperation.WriteZeroes => BlockRequestFlags.ForceUnitAccess | BlockRequestFlags.MayUnmap,
                    _ => BlockRequestFlags.None,
                };
                return new BdevStep(operation, start, Math.Min(blocks, window - start), seed, (BlockRequestFlags)flags & allowed, misalignment, cuts);
            });
    }
}

/// <summary>What the blocks must hold, and the memory that the requests use.</summary>
public sealed unsafe class BdevModel : IDisposable
{
    private const int Slack = 4096;

    private readonly BdevDriver _driver;
    private readonly ulong _firstBlock;
    private readonly int _blockSize;
    private readonly byte[] _expected;
    private readonly byte* _memory;
    private readonly byte* _buffer;
    private readonly int _bufferBytes;

    public BdevModel(BdevDriver driver, ulong firstBlock, int window)
    {
        _driver = driver;
        _firstBlock = firstBlock;
        _blockSize = (int)driver.Bdev.Info.BlockSizeBytes;
        _bufferBytes = window * _blockSize;
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)(_bufferBytes + (2 * Slack)), Slack);
        _buffer = _memory + Slack;
        _expected = driver.Read(firstBlock, (ulong)window);
    }

    public void Apply(BdevStep step)
    {
        var length = step.Operation is BlockOperation.Read or BlockOperation.Write ? step.Count * _blockSize : 0;
        var data = length == 0 ? null : _buffer + step.Misalignment;
        new Span<byte>(_memory, _bufferBytes + (2 * Slack)).Fill(0xC3);
        var bytes = new Span<byte>(data, length);
        if (step.Operation == BlockOperation.Write)
        {
            new Random(step.Seed).NextBytes(bytes);
        }

        var isFlush = step.Operation == BlockOperation.Flush;
        var status = _driver.Run(
            step.Operation,
            isFlush ? 0 : _firstBlock + (ulong)step.Start,
            isFlush ? 0 : (ulong)step.Count,
            data,
            (nuint)length,
            step.Flags,
            step.Cuts);
        Assert.Equal(BlockStatus.Success, status);
        var expected = _expected.AsSpan(step.Start * _blockSize, step.Count * _blockSize);
        switch (step.Operation)
        {
            case BlockOperation.Read:
                Assert.True(bytes.SequenceEqual(expected), $"{step} read something else");
                bytes.Fill(0xC3);
                Assert.False(new Span<byte>(_memory, _bufferBytes + (2 * Slack)).ContainsAnyExcept((byte)0xC3), $"{step} wrote beside the buffer");
                break;
            case BlockOperation.Write:
                bytes.CopyTo(expected);
                break;
            case BlockOperation.WriteZeroes:
                expected.Clear();
                break;
            case BlockOperation.Discard:
                LearnDiscarded(step, expected);
                break;
        }
    }

    /// <summary>Reads all and compares.</summary>
    public void Check()
    {
        var found = _driver.Read(_firstBlock, (ulong)(_expected.Length / _blockSize));
        var difference = found.AsSpan().CommonPrefixLength(_expected);
        Assert.True(difference == found.Length, $"block {difference / _blockSize} differs");
    }

    public void Dispose() => NativeMemory.AlignedFree(_memory);

    private void LearnDiscarded(BdevStep step, Span<byte> expected)
    {
        if (_driver.Bdev.Info.DiscardReadsZeroes)
        {
            expected.Clear();
            return;
        }

        // Each block is as it was, or zero.
        var found = _driver.Read(_firstBlock + (ulong)step.Start, (ulong)step.Count);
        for (var at = 0; at < found.Length; at += _blockSize)
        {
            var block = found.AsSpan(at, _blockSize);
            Assert.True(!block.ContainsAnyExcept((byte)0) || block.SequenceEqual(expected.Slice(at, _blockSize)), $"{step} left something strange");
        }

        found.CopyTo(expected);
    }
}
