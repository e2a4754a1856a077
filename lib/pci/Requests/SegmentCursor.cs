using Vhost.Abstractions;

namespace Vhost.Pci;

/// <summary>A position in the data of a block request.</summary>
/// <param name="segments">The request's segments.</param>
/// <param name="count">How many there are.</param>
/// <param name="index">The current one.</param>
/// <param name="offset">Bytes of the current one that lie behind.</param>
public unsafe struct SegmentCursor(IoSegment* segments, int count, int index, nuint offset)
{
    private readonly IoSegment* _segments = segments;
    private readonly int _count = count;

    /// <summary>The current segment.</summary>
    public int Index = index;

    /// <summary>Bytes of the current segment that lie behind.</summary>
    public nuint Offset = offset;

    /// <summary>The next contiguous piece of this process's memory; false at the end.</summary>
    /// <param name="limit">The most that is wanted.</param>
    /// <param name="address">Where it begins.</param>
    /// <param name="length">Its length, more than 0.</param>
    public bool TryPeek(nuint limit, out byte* address, out nuint length)
    {
        while (Index < _count)
        {
            var segment = _segments[Index];
            if (Offset < segment.LengthBytes)
            {
                address = segment.Address + Offset;
                length = nuint.Min(segment.LengthBytes - Offset, limit);
                return length != 0;
            }

            Index++;
            Offset = 0;
        }

        address = null;
        length = 0;
        return false;
    }

    /// <summary>Moves forward within the current segment.</summary>
    /// <param name="bytes">How far; at most what <see cref="TryPeek"/> gave.</param>
    public void Advance(nuint bytes) => Offset += bytes;

    /// <summary>Moves forward over any number of segments.</summary>
    /// <param name="bytes">How far.</param>
    public void Skip(nuint bytes)
    {
        while (bytes != 0 && TryPeek(bytes, out _, out var piece))
        {
            Advance(piece);
            bytes -= piece;
        }
    }

    /// <summary>Copies from the position to a buffer, or from the buffer to the position, and moves forward.</summary>
    /// <param name="buffer">The buffer.</param>
    /// <param name="bytes">How many bytes.</param>
    /// <param name="toBuffer">The direction.</param>
    public void Copy(byte* buffer, nuint bytes, bool toBuffer)
    {
        while (bytes != 0 && TryPeek(bytes, out var address, out var piece))
        {
            // SAFETY: the submitter keeps the segments alive until completion; the buffer holds at least the bytes asked for.
            Buffer.MemoryCopy(toBuffer ? address : buffer, toBuffer ? buffer : address, piece, piece);
            Advance(piece);
            buffer += piece;
            bytes -= piece;
        }
    }
}
