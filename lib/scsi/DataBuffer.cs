using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>Copies to and from scattered buffers, and shortens them. All loops are bounded by the number of segments.</summary>
// SAFETY: the caller of the device server states that each segment is valid memory of the given length until the task is done; every
// copy is limited by both the segment's length and the span's.
internal static unsafe class DataBuffer
{
    /// <summary>Copies to the front of the buffers, as far as both reach.</summary>
    public static void Scatter(ReadOnlySpan<byte> source, IoSegment* segments, int count)
    {
        for (var i = 0; i < count && source.Length > 0; i++)
        {
            var length = (int)Math.Min(segments[i].LengthBytes, (nuint)source.Length);
            source[..length].CopyTo(new Span<byte>(segments[i].Address, length));
            source = source[length..];
        }
    }

    /// <summary>Copies from the buffers, beginning at an offset, as far as both reach.</summary>
    /// <returns>How many bytes were copied.</returns>
    public static int Gather(IoSegment* segments, int count, ulong offsetBytes, Span<byte> destination)
    {
        var copied = 0;
        for (var i = 0; i < count && copied < destination.Length; i++)
        {
            ulong available = segments[i].LengthBytes;
            if (offsetBytes >= available)
            {
                offsetBytes -= available;
                continue;
            }

            var length = (int)Math.Min(available - offsetBytes, (ulong)(destination.Length - copied));
            new ReadOnlySpan<byte>(segments[i].Address + offsetBytes, length).CopyTo(destination[copied..]);
            copied += length;
            offsetBytes = 0;
        }

        return copied;
    }

    /// <summary>Shortens the buffers to a length that they have or exceed.</summary>
    /// <returns>The number of segments that remain.</returns>
    public static int Trim(IoSegment* segments, int count, ulong lengthBytes)
    {
        for (var i = 0; i < count; i++)
        {
            if (lengthBytes <= segments[i].LengthBytes)
            {
                segments[i] = new IoSegment(segments[i].Address, (nuint)lengthBytes);
                return lengthBytes == 0 ? i : i + 1;
            }

            lengthBytes -= segments[i].LengthBytes;
        }

        return count;
    }
}
