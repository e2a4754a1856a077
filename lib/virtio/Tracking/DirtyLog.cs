using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>
/// Marks the guest's pages that a queue wrote, while the guest is migrated (vhost-user, "Migration"). It remembers the device-writable pieces of
/// each request when it is taken, because handlers cut them. One queue's own; its reactor's thread only.
/// </summary>
/// <param name="area">One bit per page of guest memory, shared with other queues and the front-end.</param>
/// <param name="slotCount">Number of request slots.</param>
internal sealed unsafe class DirtyLog(SharedArea area, int slotCount)
{
    private const int PageShift = 12;

    private readonly IoSegment[][] _pieces = new IoSegment[slotCount][];
    private readonly int[] _counts = new int[slotCount];

    /// <summary>A request was taken.</summary>
    /// <param name="request">The request.</param>
    public void OnTaken(VirtioRequest* request)
    {
        var count = request->WritableCount;
        ref var pieces = ref _pieces[request->SlotIndex];
        if (pieces == null || pieces.Length < count)
        {
            // Only while a guest is migrated, and no more often than lists grow.
            pieces = new IoSegment[Math.Max(VirtioRequest.InlineSegments, (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)count))];
        }

        new ReadOnlySpan<IoSegment>(request->Writable, count).CopyTo(pieces);
        _counts[request->SlotIndex] = count;
    }

    /// <summary>A request is going to be given back: marks all that its device-writable part touches.</summary>
    /// <param name="request">The request.</param>
    /// <param name="memory">The map in which its pieces lie.</param>
    public void OnCompleted(VirtioRequest* request, GuestAddressSpace memory)
    {
        var slot = request->SlotIndex;
        for (var i = 0; i < _counts[slot]; i++)
        {
            var piece = _pieces[slot][i];
            if (piece.Address != null && memory.TryGetGuestAddress(piece.Address, out var guestAddress))
            {
                Mark(guestAddress, piece.LengthBytes);
            }
        }
    }

    /// <summary>Marks a range of guest memory.</summary>
    /// <param name="guestAddress">Its beginning.</param>
    /// <param name="lengthBytes">Its length, more than 0.</param>
    public void Mark(ulong guestAddress, ulong lengthBytes)
    {
        var last = (guestAddress + lengthBytes - 1) >> PageShift;
        for (var page = guestAddress >> PageShift; page <= last; page++)
        {
            var word = page / 32;
            if ((word + 1) * 4 <= area.LengthBytes)
            {
                // SAFETY: within the area. Atomic with a full fence: other queues and the front-end change the same word, and the front-end that
                // takes the bit afterwards sees what was written before.
                Interlocked.Or(ref *(int*)(area.Address + (nint)(word * 4)), 1 << (int)(page % 32));
            }
        }
    }
}
