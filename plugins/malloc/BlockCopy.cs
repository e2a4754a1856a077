using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Vhost.Plugins.Malloc;

/// <summary>
/// The right copy for the size. A small request (random 4 KiB, mostly) waits for memory: so it is copied in the widest vectors, and the
/// same loop fetches the next request's data meanwhile; without a next request the runtime's copy is faster. A large one streams at the
/// memory's speed by itself, where prefetching only disturbs. Never non-temporal: the guest or the wire reads the data next, and from the cache.
/// </summary>
internal static unsafe class BlockCopy
{
    private const nuint LargestSmallCopy = 16 << 10;
    private const nuint PrefetchedBytes = 4 << 10;
    private const nuint StrideBytes = 256;

    /// <summary>Copies; the areas do not overlap.</summary>
    /// <param name="destination">Where to.</param>
    /// <param name="source">Where from.</param>
    /// <param name="length">How many bytes.</param>
    /// <param name="next">What will be read or written after this, or null. A hint: it is never accessed.</param>
    // SAFETY: reads and writes length bytes, which the caller answers for. A prefetch of an address that is not mapped does nothing.
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Copy(byte* destination, byte* source, nuint length, byte* next)
    {
        if (next == null || length > LargestSmallCopy || length < StrideBytes || !Vector256.IsHardwareAccelerated)
        {
            Buffer.MemoryCopy(source, destination, length, length);
            return;
        }

        nuint at = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; length - at >= StrideBytes; at += StrideBytes)
            {
                Prefetch(next, at);
                var a = Vector512.Load(source + at);
                var b = Vector512.Load(source + at + 64);
                var c = Vector512.Load(source + at + 128);
                var d = Vector512.Load(source + at + 192);
                a.Store(destination + at);
                b.Store(destination + at + 64);
                c.Store(destination + at + 128);
                d.Store(destination + at + 192);
            }
        }
        else
        {
            for (; length - at >= StrideBytes; at += StrideBytes)
            {
                Prefetch(next, at);
                for (nuint half = 0; half < StrideBytes; half += 128)
                {
                    var a = Vector256.Load(source + at + half);
                    var b = Vector256.Load(source + at + half + 32);
                    var c = Vector256.Load(source + at + half + 64);
                    var d = Vector256.Load(source + at + half + 96);
                    a.Store(destination + at + half);
                    b.Store(destination + at + half + 32);
                    c.Store(destination + at + half + 64);
                    d.Store(destination + at + half + 96);
                }
            }
        }

        Buffer.MemoryCopy(source + at, destination + at, length - at, length - at);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch(byte* next, nuint at)
    {
        if (Sse.IsSupported && at < PrefetchedBytes)
        {
            Sse.Prefetch0(next + at);
            Sse.Prefetch0(next + at + 64);
            Sse.Prefetch0(next + at + 128);
            Sse.Prefetch0(next + at + 192);
        }
    }
}
