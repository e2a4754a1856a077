using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>A queue's request slots and its lists of pointers to them, in one piece of native memory. The reactor's thread only.</summary>
internal sealed unsafe class RequestPool : IDisposable
{
    private readonly byte* _memory;
    private readonly VirtioRequest** _free;
    private readonly nuint _strideBytes;
    private int _freeCount;

    /// <summary>Allocates everything that the queue will ever need but long segment lists.</summary>
    /// <param name="slotCount">Number of slots.</param>
    /// <param name="privateBytes">Size of each private area.</param>
    /// <param name="batchSize">The most requests in a batch.</param>
    /// <param name="queueHandle">Goes into each slot.</param>
    public RequestPool(int slotCount, int privateBytes, int batchSize, nint queueHandle)
    {
        SlotCount = slotCount;
        _strideBytes = (nuint)((VirtioRequest.PrivateOffset + privateBytes + 63) & ~63);
        var slotBytes = _strideBytes * (nuint)slotCount;
        var listBytes = (nuint)(slotCount * sizeof(nint));
        var length = slotBytes + (2 * listBytes) + (nuint)(((2 * batchSize) + 2) * sizeof(nint));
        _memory = (byte*)NativeMemory.AlignedAlloc(length, 64);
        NativeMemory.Clear(_memory, length);
        _free = (VirtioRequest**)(_memory + slotBytes);
        Completed = (VirtioRequest**)(_memory + slotBytes + listBytes);
        Batch = (VirtioRequest**)(_memory + slotBytes + (2 * listBytes));
        Answers = (byte**)(Batch + batchSize);
        LastAnswer = Answers + batchSize + 1;
        for (var i = slotCount - 1; i >= 0; i--)
        {
            var request = Slot(i);
            request->QueueHandle = queueHandle;
            request->SlotIndex = i;
            _free[_freeCount++] = request;
        }
    }

    /// <summary>Number of slots.</summary>
    public int SlotCount { get; }

    /// <summary>Room for as many pointers as there are slots: completed requests that wait for the used ring.</summary>
    public VirtioRequest** Completed { get; }

    /// <summary>Room for a batch of pointers.</summary>
    public VirtioRequest** Batch { get; }

    /// <summary>Room for one address more than there are requests in a batch: what is going to be written for them.</summary>
    public byte** Answers { get; }

    /// <summary>Where the answer of the last batch of one went.</summary>
    public byte** LastAnswer { get; }

    /// <summary>Number of free slots.</summary>
    public int FreeCount => _freeCount;

    /// <summary>Storage for long segment lists.</summary>
    public SegmentPool Segments { get; } = new();

    /// <summary>A slot by its index.</summary>
    /// <param name="index">0 to <see cref="SlotCount"/> - 1.</param>
    // SAFETY: the caller stays within the slots, which live as long as the pool.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public VirtioRequest* Slot(int index) => (VirtioRequest*)(_memory + ((nuint)index * _strideBytes));

    /// <summary>The slot that <see cref="Take"/> would give. There is one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public VirtioRequest* Peek() => _free[_freeCount - 1];

    /// <summary>Takes the slot that <see cref="Peek"/> gave.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Take() => _freeCount--;

    /// <summary>Gives a slot and its segments back.</summary>
    /// <param name="request">The slot.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Return(VirtioRequest* request)
    {
        if (request->Overflow != null)
        {
            ReturnOverflow(request);
        }

        request->State = VirtioRequestState.Free;
        _free[_freeCount++] = request;
    }

    /// <summary>Gives the overflow storage of a slot back.</summary>
    /// <param name="request">The slot.</param>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public void ReturnOverflow(VirtioRequest* request)
    {
        Segments.Return(request->Overflow, request->OverflowClass);
        request->Overflow = null;
        request->OverflowClass = 0;
    }

    /// <summary>Moves the segments of a request that is being parsed to storage twice as long or more.</summary>
    /// <param name="request">The request.</param>
    /// <param name="count">How many segments there are so far.</param>
    /// <returns>The new storage, or null when there is none.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public IoSegment* Grow(VirtioRequest* request, int count)
    {
        var sizeClass = (byte)(request->OverflowClass + 1);
        var larger = Segments.Take(sizeClass);
        if (larger == null)
        {
            return null;
        }

        var old = request->Overflow != null ? request->Overflow : InlineSegmentsOf(request);
        Unsafe.CopyBlock(larger, old, (uint)(count * sizeof(IoSegment)));
        if (request->Overflow != null)
        {
            Segments.Return(request->Overflow, request->OverflowClass);
        }

        request->Overflow = larger;
        request->OverflowClass = sizeClass;
        return larger;
    }

    /// <summary>The segments within the slot.</summary>
    /// <param name="request">The slot.</param>
    // SAFETY: the inline segments lie between the header and the private area.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static IoSegment* InlineSegmentsOf(VirtioRequest* request) =>
        (IoSegment*)((byte*)request + VirtioRequest.PrivateOffset) - VirtioRequest.InlineSegments;

    /// <summary>Frees all. No request is under way.</summary>
    public void Dispose()
    {
        for (var i = 0; i < SlotCount; i++)
        {
            if (Slot(i)->Overflow != null)
            {
                ReturnOverflow(Slot(i));
            }
        }

        Segments.Dispose();
        NativeMemory.AlignedFree(_memory);
    }
}
