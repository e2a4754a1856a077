using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>
/// Storage for the segments of long requests, in native memory, by classes of size. What was used once is kept for reuse, so that a
/// steady load allocates nothing. One queue's own; its reactor's thread only.
/// </summary>
internal sealed unsafe class SegmentPool : IDisposable
{
    /// <summary>The class of the longest blocks: 65536 segments.</summary>
    public const byte LastClass = 12;

    private const int FirstClassSegments = 32;
    private const int ClassCount = LastClass;

    /// <summary>All requests of a queue together hold no more than this: 16 MiB. Above it, requests wait in the ring.</summary>
    private const long MaxSegments = 1 << 20;

    private readonly nint[] _free = new nint[ClassCount];
    private long _heldSegments;

    /// <summary>How many segments a block of a class holds.</summary>
    /// <param name="sizeClass">The class, from 1; 0 is the slot itself.</param>
    public static int CapacityOf(byte sizeClass) => sizeClass == 0 ? VirtioRequest.InlineSegments : FirstClassSegments << (sizeClass - 1);

    /// <summary>Takes a block.</summary>
    /// <param name="sizeClass">The class.</param>
    /// <returns>The block, or null when the queue holds as much as it may.</returns>
    public IoSegment* Take(byte sizeClass)
    {
        var block = (nint*)_free[sizeClass - 1];
        if (block != null)
        {
            _free[sizeClass - 1] = *block;
            return (IoSegment*)block;
        }

        var capacity = CapacityOf(sizeClass);
        if (_heldSegments + capacity > MaxSegments)
        {
            if (!TrimFor(capacity))
            {
                return null;
            }
        }

        _heldSegments += capacity;
        return (IoSegment*)NativeMemory.Alloc((nuint)capacity, (nuint)sizeof(IoSegment));
    }

    /// <summary>Gives a block back.</summary>
    /// <param name="block">The block.</param>
    /// <param name="sizeClass">Its class.</param>
    public void Return(IoSegment* block, byte sizeClass)
    {
        // A free block's first word links to the next one.
        *(nint*)block = _free[sizeClass - 1];
        _free[sizeClass - 1] = (nint)block;
    }

    /// <summary>Frees every block that was given back; the rest were given back before, since the queue's requests are.</summary>
    public void Dispose()
    {
        for (byte sizeClass = 1; sizeClass <= ClassCount; sizeClass++)
        {
            FreeClass(sizeClass);
        }
    }

    private bool TrimFor(int capacity)
    {
        for (byte sizeClass = 1; sizeClass <= ClassCount && _heldSegments + capacity > MaxSegments; sizeClass++)
        {
            FreeClass(sizeClass);
        }

        return _heldSegments + capacity <= MaxSegments;
    }

    private void FreeClass(byte sizeClass)
    {
        // SAFETY: only blocks of Take are linked here, each once.
        while (_free[sizeClass - 1] != 0)
        {
            var block = (nint*)_free[sizeClass - 1];
            _free[sizeClass - 1] = *block;
            NativeMemory.Free(block);
            _heldSegments -= CapacityOf(sizeClass);
        }
    }
}
