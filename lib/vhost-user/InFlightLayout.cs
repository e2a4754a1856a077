using Vhost.Abstractions;

namespace Vhost.VhostUser;

/// <summary>The lengths of an in-flight area (vhost-user, "Inflight I/O tracking").</summary>
internal static class InFlightLayout
{
    private const ulong SplitHeaderBytes = 16;
    private const ulong SplitEntryBytes = 16;
    private const ulong PackedHeaderBytes = 32;
    private const ulong PackedEntryBytes = 32;
    private const ulong Alignment = 64; // each queue's part begins on a cache line, as other back-ends have it

    /// <summary>How far apart two queues' parts are.</summary>
    /// <param name="format">Split or packed.</param>
    /// <param name="queueSize">Entries of each queue.</param>
    internal static ulong StrideBytes(VirtqueueFormat format, int queueSize)
    {
        var bytes = format == VirtqueueFormat.Packed
            ? PackedHeaderBytes + (PackedEntryBytes * (ulong)queueSize)
            : SplitHeaderBytes + (SplitEntryBytes * (ulong)queueSize);
        return (bytes + Alignment - 1) & ~(Alignment - 1);
    }
}
