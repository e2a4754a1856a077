using System.Diagnostics;
using Vhost.Abstractions;

namespace Vhost.Host.Bdevs;

/// <summary>A request that ended.</summary>
/// <param name="Bdev">The bdev.</param>
/// <param name="CompletedAt">When, in Stopwatch ticks.</param>
/// <param name="Operation">What it was.</param>
/// <param name="Status">How it ended.</param>
/// <param name="StartBlock">Its first block.</param>
/// <param name="BlockCount">Its length in blocks.</param>
/// <param name="LatencyTicks">Its time, in Stopwatch ticks.</param>
public readonly record struct TracedRequest(string Bdev, long CompletedAt, BlockOperation Operation, BlockStatus Status, ulong StartBlock, ulong BlockCount, ulong LatencyTicks)
{
    /// <summary>How long ago it ended.</summary>
    public TimeSpan Age => Stopwatch.GetElapsedTime(CompletedAt);
}

/// <summary>
/// The last requests of one channel. Its reactor writes, any thread reads: an entry that is being written while it is read is left out. Nothing is allocated after
/// the start, and nothing locked.
/// </summary>
internal sealed class RequestRing
{
    private const int Capacity = 128;

    private readonly Entry[] _entries = new Entry[Capacity];
    private ulong _count;

    /// <summary>Records a request. Reactor thread only.</summary>
    internal void Add(long completedAt, BlockOperation operation, BlockStatus status, ulong startBlock, ulong blockCount, ulong latencyTicks)
    {
        ref var entry = ref _entries[_count % Capacity];
        // Release stores, each after the one before it; they pair with the acquire loads of GetRequests, which sees the sequence change if a field did.
        Volatile.Write(ref entry.Sequence, 0);
        Volatile.Write(ref entry.CompletedAt, completedAt);
        Volatile.Write(ref entry.Kind, ((uint)operation << 8) | (byte)status);
        Volatile.Write(ref entry.StartBlock, startBlock);
        Volatile.Write(ref entry.BlockCount, blockCount);
        Volatile.Write(ref entry.LatencyTicks, latencyTicks);
        Volatile.Write(ref entry.Sequence, ++_count);
    }

    /// <summary>The requests, oldest first. Any thread.</summary>
    /// <param name="bdev">Whose they are.</param>
    internal IReadOnlyList<TracedRequest> GetRequests(string bdev)
    {
        var found = new List<(ulong Sequence, TracedRequest Request)>(Capacity);
        for (var i = 0; i < Capacity; i++)
        {
            ref var entry = ref _entries[i];
            var sequence = Volatile.Read(ref entry.Sequence);
            var kind = Volatile.Read(ref entry.Kind);
            var request = new TracedRequest(
                bdev,
                Volatile.Read(ref entry.CompletedAt),
                (BlockOperation)(kind >> 8),
                (BlockStatus)(kind & 0xff),
                Volatile.Read(ref entry.StartBlock),
                Volatile.Read(ref entry.BlockCount),
                Volatile.Read(ref entry.LatencyTicks));
            if (sequence != 0 && Volatile.Read(ref entry.Sequence) == sequence)
            {
                found.Add((sequence, request));
            }
        }

        return [.. found.OrderBy(item => item.Sequence).Select(item => item.Request)];
    }

    private struct Entry
    {
        internal ulong Sequence;
        internal long CompletedAt;
        internal uint Kind;
        internal ulong StartBlock;
        internal ulong BlockCount;
        internal ulong LatencyTicks;
    }
}
