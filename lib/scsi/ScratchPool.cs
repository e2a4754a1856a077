using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>
/// Native memory for commands that need more than the initiator's buffers: patterns, verification, parameter lists that must not change under
/// us. A chunk begins with the segment that describes a piece of its data. Bounded; one reactor's.
/// </summary>
internal sealed unsafe class ScratchPool : IDisposable
{
    /// <summary>Room for data in a chunk: two of the largest logical blocks.</summary>
    public const int DataLengthBytes = 128 * 1024;

    private const int AlignmentBytes = 4096;
    private const int MaxChunks = 32;

    private readonly nint[] _free = new nint[MaxChunks];
    private int _freeCount;
    private int _allocatedCount;
    private bool _isDisposed;

    /// <summary>The data of a chunk.</summary>
    // SAFETY: a chunk is AlignmentBytes + DataLengthBytes long.
    public static byte* DataOf(byte* chunk) => chunk + AlignmentBytes;

    /// <summary>The data of a chunk, as a span.</summary>
    public static Span<byte> SpanOf(byte* chunk) => new(chunk + AlignmentBytes, DataLengthBytes);

    /// <summary>Describes the front of a chunk's data by its segment.</summary>
    /// <returns>The segment, in native memory that lives as long as the chunk.</returns>
    public static IoSegment* Describe(byte* chunk, ulong lengthBytes)
    {
        var segment = (IoSegment*)chunk;
        *segment = new IoSegment(DataOf(chunk), (nuint)lengthBytes);
        return segment;
    }

    /// <summary>Takes a chunk with undefined content; null if all are in use.</summary>
    public byte* TryRent()
    {
        if (_freeCount > 0)
        {
            return (byte*)_free[--_freeCount];
        }

        if (_allocatedCount == MaxChunks)
        {
            return null;
        }

        _allocatedCount++;
        return (byte*)NativeMemory.AlignedAlloc(AlignmentBytes + DataLengthBytes, AlignmentBytes);
    }

    /// <summary>Gives a chunk back.</summary>
    public void Return(byte* chunk)
    {
        if (_isDisposed)
        {
            NativeMemory.AlignedFree(chunk);
            return;
        }

        _free[_freeCount++] = (nint)chunk;
    }

    /// <summary>Frees what is not in use. A chunk that a bdev still holds is freed when it comes back, and never under a request.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        while (_freeCount > 0)
        {
            NativeMemory.AlignedFree((void*)_free[--_freeCount]);
        }
    }
}
