using System.Diagnostics;
using Vhost.Linux;

namespace Vhost.Bench;

/// <summary>
/// The ceiling of a disk in memory: a loop that does nothing but copy between memory of the disk's size, on huge pages as the disk's, and a few buffers.
/// One thread.
/// </summary>
internal sealed unsafe class CopyLoop : IDisposable
{
    private const nuint HugePageBytes = 2 << 20;
    private const int BufferCount = 32;
    private const int CopiesPerLook = 64;

    private readonly MemoryMapping _disk;
    private readonly MemoryMapping _buffers;
    private readonly int _blockSizeBytes;
    private ulong _random = 0x2545_f491_4f6c_dd1d;

    /// <summary>Takes the memory and touches all of it.</summary>
    /// <param name="sizeBytes">The disk's size.</param>
    /// <param name="blockSizeBytes">Bytes of one copy.</param>
    public CopyLoop(ulong sizeBytes, int blockSizeBytes)
    {
        _blockSizeBytes = blockSizeBytes;
        _disk = MemoryMapping.MapAnonymousAligned((nuint)sizeBytes, HugePageBytes);
        _ = _disk.TryAdvise(MemoryAdvice.HugePage);
        _buffers = MemoryMapping.MapAnonymous((nuint)(BufferCount * blockSizeBytes));
        for (nuint at = 0; at < _disk.Length; at += MemoryMapping.PageSize)
        {
            _disk.Address[at] = 1;
        }

        new Span<byte>(_buffers.Address, BufferCount * blockSizeBytes).Fill(1);
    }

    /// <summary>Copies.</summary>
    /// <param name="pattern">In which order.</param>
    /// <param name="isWrite">Into the disk, or out of it.</param>
    /// <param name="seconds">How long.</param>
    /// <returns>Copies a second.</returns>
    // SAFETY: every place lies within the disk, and every buffer within the buffers.
    public double Run(Pattern pattern, bool isWrite, double seconds)
    {
        var places = (ulong)_disk.Length / (ulong)_blockSizeBytes;
        var size = (nuint)_blockSizeBytes;
        var next = 0UL;
        var count = 0L;
        var begin = Stopwatch.GetTimestamp();
        var end = begin + (long)(seconds * Stopwatch.Frequency);
        while (Stopwatch.GetTimestamp() < end)
        {
            for (var i = 0; i < CopiesPerLook; i++, count++)
            {
                ulong place;
                if (pattern == Pattern.Seq)
                {
                    place = next;
                    next = next + 1 < places ? next + 1 : 0;
                }
                else
                {
                    place = Math.BigMul(NextRandom(), places, out _);
                }

                var block = _disk.Address + ((nuint)place * size);
                var buffer = _buffers.Address + ((nuint)(count % BufferCount) * size);
                Buffer.MemoryCopy(isWrite ? buffer : block, isWrite ? block : buffer, size, size);
            }
        }

        return count / Stopwatch.GetElapsedTime(begin).TotalSeconds;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _disk.Dispose();
        _buffers.Dispose();
    }

    private ulong NextRandom()
    {
        _random ^= _random >> 12;
        _random ^= _random << 25;
        _random ^= _random >> 27;
        return _random * 0x2545_f491_4f6c_dd1d;
    }
}
