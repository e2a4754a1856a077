using System.Collections.Concurrent;

namespace Vhost.VhostUser;

/// <summary>
/// Guest memory that stays mapped because requests that use it never came back. It is rooted here, so that no finaliser unmaps it under a late
/// DMA, and stays in the memory registry. Process-wide; any thread.
/// </summary>
public static class RetainedMemory
{
    private static readonly ConcurrentQueue<IDisposable[]> Kept = new();
    private static long _bytes;

    /// <summary>Bytes that stay mapped.</summary>
    public static ulong Bytes => (ulong)Interlocked.Read(ref _bytes);

    /// <summary>Keeps mappings and registrations until the process ends.</summary>
    /// <param name="parts">What to keep alive.</param>
    /// <param name="lengthBytes">How much memory that is.</param>
    internal static void Keep(IEnumerable<IDisposable> parts, ulong lengthBytes)
    {
        Kept.Enqueue([.. parts]);
        Interlocked.Add(ref _bytes, (long)lengthBytes);
    }
}
