using Vhost.Abstractions;
using Vhost.Virtio;

namespace Vhost.Plugins.VhostBlk;

/// <summary>Copies small structures from and to segments in any layout.</summary>
// SAFETY: the segments were translated and checked by the queue.
internal static unsafe class BlkGather
{
    /// <summary>Copies the beginning of the device-readable part and cuts it off.</summary>
    /// <param name="request">The request.</param>
    /// <param name="destination">What to fill, wholly.</param>
    /// <returns>False if the part is shorter.</returns>
    public static bool TryTake(VirtioRequest* request, Span<byte> destination)
    {
        while (destination.Length != 0)
        {
            if (request->ReadableCount == 0)
            {
                return false;
            }

            ref var first = ref request->Readable[0];
            var count = (int)Math.Min(first.LengthBytes, (nuint)destination.Length);
            new ReadOnlySpan<byte>(first.Address, count).CopyTo(destination);
            destination = destination[count..];
            if ((nuint)count == first.LengthBytes)
            {
                request->Readable++;
                request->ReadableCount--;
            }
            else
            {
                first = new IoSegment(first.Address + count, first.LengthBytes - (nuint)count);
            }
        }

        return true;
    }

    /// <summary>Copies to the beginning of the device-writable part.</summary>
    /// <param name="request">The request.</param>
    /// <param name="source">What to copy.</param>
    /// <returns>How much was copied.</returns>
    public static int Scatter(VirtioRequest* request, ReadOnlySpan<byte> source)
    {
        var done = 0;
        for (var i = 0; i < request->WritableCount && done < source.Length; i++)
        {
            var segment = request->Writable[i];
            var count = (int)Math.Min(segment.LengthBytes, (nuint)(source.Length - done));
            source.Slice(done, count).CopyTo(new Span<byte>(segment.Address, count));
            done += count;
        }

        return done;
    }
}
