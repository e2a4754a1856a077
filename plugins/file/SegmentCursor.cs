using System.Runtime.CompilerServices;

namespace Vhost.Plugins.File;

/// <summary>A slot's place in its request's segments.</summary>
// SAFETY: the segments were found to be as long as the range, and no call goes beyond the range, so the cursor stays within them.
internal static unsafe class SegmentCursor
{
    /// <summary>Steps over segments without length, so that the cursor stands on a byte.</summary>
    /// <param name="slot">A slot whose request is not done.</param>
    public static void SkipEmpty(FileSlot* slot)
    {
        while (slot->Request->Segments[slot->SegmentIndex].LengthBytes == slot->SegmentOffset)
        {
            slot->SegmentIndex++;
            slot->SegmentOffset = 0;
        }
    }

    /// <summary>Moves the cursor.</summary>
    /// <param name="slot">The slot.</param>
    /// <param name="bytes">By how much; not beyond the range.</param>
    public static void Advance(FileSlot* slot, nuint bytes)
    {
        while (bytes > 0)
        {
            var left = slot->Request->Segments[slot->SegmentIndex].LengthBytes - slot->SegmentOffset;
            if (bytes < left)
            {
                slot->SegmentOffset += bytes;
                return;
            }

            bytes -= left;
            slot->SegmentIndex++;
            slot->SegmentOffset = 0;
        }
    }

    /// <summary>Copies from the segments without moving the cursor.</summary>
    /// <param name="slot">The slot.</param>
    /// <param name="destination">Where to.</param>
    /// <param name="bytes">How many.</param>
    public static void Gather(FileSlot* slot, byte* destination, nuint bytes) => Copy(slot, destination, bytes, toSegments: false);

    /// <summary>Copies into the segments without moving the cursor.</summary>
    /// <param name="slot">The slot.</param>
    /// <param name="source">Where from.</param>
    /// <param name="bytes">How many.</param>
    public static void Scatter(FileSlot* slot, byte* source, nuint bytes) => Copy(slot, source, bytes, toSegments: true);

    private static void Copy(FileSlot* slot, byte* buffer, nuint bytes, bool toSegments)
    {
        var index = slot->SegmentIndex;
        var offset = slot->SegmentOffset;
        while (bytes > 0)
        {
            var segment = slot->Request->Segments[index];
            var count = (uint)Math.Min(segment.LengthBytes - offset, bytes);
            var at = segment.Address + offset;
            Unsafe.CopyBlockUnaligned(toSegments ? at : buffer, toSegments ? buffer : at, count);
            buffer += count;
            bytes -= count;
            index++;
            offset = 0;
        }
    }
}
