using Vhost.Abstractions;

namespace Vhost.Host.Bdevs;

/// <summary>
/// A range of blocks that one request uses alone: a compare-and-write among what writes, an atomic write among what reads and writes. While it is active, every channel
/// of the bdev, on every reactor, holds back new requests of that kind that overlap it; it is granted once those that were under way are done. The others pay one
/// test of a flag for it.
/// </summary>
/// <param name="owner">The channel of the request.</param>
/// <param name="startBlock">First block.</param>
/// <param name="blockCount">Number of blocks.</param>
/// <param name="keepsReadersAway">Whether what reads has to wait as well.</param>
/// <param name="onGranted">Runs on the owner's reactor when the range is its own.</param>
internal sealed class RangeFreeze(ChannelBinding owner, ulong startBlock, ulong blockCount, bool keepsReadersAway, Action onGranted)
{
    /// <summary>Channels that have not acknowledged. Guarded by the attachment's lock.</summary>
    internal int PendingCount;

    /// <summary>Whether the owner has given it back. Guarded by the attachment's lock.</summary>
    internal bool IsReleased;

    internal ChannelBinding Owner => owner;

    /// <summary>Whether a request has to wait.</summary>
    /// <param name="request">The request, its range checked.</param>
    // SAFETY: the request is alive: it is under way or just being submitted.
    internal unsafe bool Overlaps(BlockRequest* request) =>
        (BdevLimits.IsWrite(request->Operation) || (keepsReadersAway && request->Operation is BlockOperation.Read or BlockOperation.Compare))
        && (request->StartBlock >= startBlock ? request->StartBlock - startBlock < blockCount : startBlock - request->StartBlock < request->BlockCount);

    internal void PostGranted() => owner.PostSafely(onGranted);
}
