using System.Runtime.CompilerServices;
using Vhost.Abstractions;

namespace Vhost.Plugins.VhostScsi;

/// <summary>Headers in scattered buffers: virtio prescribes no layout.</summary>
// SAFETY: segments are translated and checked by the queue; each copy is limited by the segment's and the span's length.
internal static unsafe class Segments
{
    /// <summary>Copies to the front of the buffers.</summary>
    public static void Scatter(ReadOnlySpan<byte> source, IoSegment* segments, int count)
    {
        for (var i = 0; i < count && source.Length > 0; i++)
        {
            var length = (int)Math.Min(segments[i].LengthBytes, (nuint)source.Length);
            source[..length].CopyTo(new Span<byte>(segments[i].Address, length));
            source = source[length..];
        }
    }

    /// <summary>Copies from the front of the buffers.</summary>
    /// <returns>Whether they had that much.</returns>
    public static bool Gather(IoSegment* segments, int count, Span<byte> destination)
    {
        for (var i = 0; i < count && destination.Length > 0; i++)
        {
            var length = (int)Math.Min(segments[i].LengthBytes, (nuint)destination.Length);
            new ReadOnlySpan<byte>(segments[i].Address, length).CopyTo(destination);
            destination = destination[length..];
        }

        return destination.Length == 0;
    }

    /// <summary>Cuts a header off.</summary>
    /// <param name="segments">The buffers; the one in which the header ends is shortened at its front.</param>
    /// <param name="count">How many; together they hold the header.</param>
    /// <param name="headerBytes">Length of the header.</param>
    /// <param name="cutBytes">How much that one was shortened; 0 if the header ends with a segment.</param>
    /// <returns>The index of the first buffer after the header.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Cut(IoSegment* segments, int count, nuint headerBytes, out int cutBytes)
    {
        cutBytes = 0;
        return segments->LengthBytes == headerBytes ? 1 : CutSlowly(segments, count, headerBytes, out cutBytes);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int CutSlowly(IoSegment* segments, int count, nuint headerBytes, out int cutBytes)
    {
        cutBytes = 0;
        for (var i = 0; i < count; i++)
        {
            var length = segments[i].LengthBytes;
            if (length > headerBytes)
            {
                segments[i] = new IoSegment(segments[i].Address + headerBytes, length - headerBytes);
                cutBytes = (int)headerBytes;
                return i;
            }

            headerBytes -= length;
            if (headerBytes == 0)
            {
                return i + 1;
            }
        }

        return count;
    }

    /// <summary>Undoes a cut.</summary>
    public static void Uncut(IoSegment* segment, int cutBytes)
        => *segment = new IoSegment(segment->Address - cutBytes, segment->LengthBytes + (nuint)cutBytes);

    /// <summary>Whether the front of the buffers has that length, and each piece of it an address.</summary>
    public static bool IsUsable(IoSegment* segments, int count, nuint lengthBytes)
    {
        for (var i = 0; i < count; i++)
        {
            if (segments[i].Address == null)
            {
                return false;
            }

            if (segments[i].LengthBytes >= lengthBytes)
            {
                return true;
            }

            lengthBytes -= segments[i].LengthBytes;
        }

        return false;
    }
}
