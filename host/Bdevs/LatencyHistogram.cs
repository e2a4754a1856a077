using System.Diagnostics;
using System.Numerics;
using Vhost.Abstractions;

namespace Vhost.Host.Bdevs;

/// <summary>
/// How latencies are counted: in SPDK's buckets. A range holds the latencies of one power of two (range 0: those below 2^granularity), and is
/// divided evenly into 2^granularity buckets. Each enabling makes an object of its own, so counts of different ones do not mix.
/// </summary>
public sealed class HistogramSettings
{
    /// <summary>SPDK's granularity where none is named.</summary>
    public const int DefaultGranularity = 7;

    /// <summary>The finest granularity: a channel's counts take some MiB then.</summary>
    public const int MaxGranularity = 12;

    /// <summary>Makes settings.</summary>
    /// <param name="granularity">log2 of the buckets of a range, 1 to <see cref="MaxGranularity"/>.</param>
    /// <param name="minTicks">Latencies below are counted in the first bucket; Stopwatch ticks.</param>
    /// <param name="maxTicks">Latencies from here on are counted in the last bucket; Stopwatch ticks.</param>
    /// <param name="operation">The only operation that is counted, or null for all.</param>
    public HistogramSettings(int granularity = DefaultGranularity, ulong minTicks = 0, ulong maxTicks = ulong.MaxValue, BlockOperation? operation = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(granularity, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(granularity, MaxGranularity);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(minTicks, maxTicks);
        Granularity = granularity;
        MinRange = RangeOf(minTicks);
        MaxRange = RangeOf(maxTicks - 1);
        Operation = operation;
    }

    /// <summary>log2 of the buckets of a range.</summary>
    public int Granularity { get; }

    /// <summary>The first range.</summary>
    public int MinRange { get; }

    /// <summary>The last range.</summary>
    public int MaxRange { get; }

    /// <summary>The only operation that is counted, or null for all.</summary>
    public BlockOperation? Operation { get; }

    /// <summary>Number of buckets.</summary>
    public int BucketCount => (MaxRange - MinRange + 1) << Granularity;

    /// <summary>The bucket of a latency.</summary>
    /// <param name="ticks">The latency.</param>
    public int BucketOf(ulong ticks)
    {
        var range = RangeOf(ticks);
        if (range < MinRange)
        {
            return 0;
        }

        return range > MaxRange
            ? BucketCount - 1
            : ((range - MinRange) << Granularity) + (int)((ticks >> Math.Max(0, range - 1)) & ((1UL << Granularity) - 1));
    }

    /// <summary>The first latency beyond a bucket, in Stopwatch ticks.</summary>
    /// <param name="bucket">The bucket.</param>
    public ulong EndOf(int bucket)
    {
        var range = MinRange + (bucket >> Granularity);
        var index = (ulong)(bucket & ((1 << Granularity) - 1)) + 1;
        if (range == 0)
        {
            return index;
        }

        // The end of the very last bucket is 2^64, which does not fit.
        var end = ((UInt128)1 << (range + Granularity - 1)) + ((UInt128)index << (range - 1));
        return end > ulong.MaxValue ? ulong.MaxValue : (ulong)end;
    }

    private int RangeOf(ulong ticks) => Math.Max(0, 64 - Granularity - BitOperations.LeadingZeroCount(ticks));
}

/// <summary>Counts of latencies by bucket, at one moment.</summary>
public sealed class LatencyHistogram
{
    private readonly ulong[] _counts;

    internal LatencyHistogram(HistogramSettings settings, ulong[] counts)
    {
        Settings = settings;
        _counts = counts;
        foreach (var count in counts)
        {
            Total += count;
        }
    }

    /// <summary>The buckets.</summary>
    public HistogramSettings Settings { get; }

    /// <summary>Requests by bucket.</summary>
    public IReadOnlyList<ulong> Counts => _counts;

    /// <summary>All requests.</summary>
    public ulong Total { get; }

    /// <summary>The latency that a share of the requests does not exceed, to a bucket's width; zero without requests.</summary>
    /// <param name="share">The share, 0 to 1: 0.99 for the 99th percentile.</param>
    public TimeSpan GetPercentile(double share)
    {
        var wanted = (ulong)Math.Ceiling(Math.Clamp(share, 0, 1) * Total);
        var soFar = 0UL;
        for (var bucket = 0; bucket < _counts.Length; bucket++)
        {
            soFar += _counts[bucket];
            if (_counts[bucket] > 0 && soFar >= wanted)
            {
                return TimeSpan.FromSeconds((double)Settings.EndOf(bucket) / Stopwatch.Frequency);
            }
        }

        return TimeSpan.Zero;
    }

    /// <summary>What was counted since an earlier moment of the same histogram; everything if the earlier one is of another.</summary>
    /// <param name="earlier">The earlier moment, or null.</param>
    public LatencyHistogram Since(LatencyHistogram? earlier)
    {
        if (earlier is null || !ReferenceEquals(earlier.Settings, Settings))
        {
            return this;
        }

        var counts = new ulong[_counts.Length];
        for (var bucket = 0; bucket < counts.Length; bucket++)
        {
            counts[bucket] = _counts[bucket] - Math.Min(earlier._counts[bucket], _counts[bucket]);
        }

        return new LatencyHistogram(Settings, counts);
    }
}

/// <summary>Counts one channel's latencies. Written by its reactor alone, with plain stores; read untorn by others.</summary>
/// <param name="settings">The buckets.</param>
internal sealed class LatencyMeter(HistogramSettings settings)
{
    private readonly ulong[] _counts = new ulong[settings.BucketCount];

    internal HistogramSettings Settings => settings;

    /// <summary>Counts a request.</summary>
    internal void Record(BlockOperation operation, ulong ticks)
    {
        if (settings.Operation is not { } only || only == operation)
        {
            _counts[settings.BucketOf(ticks)]++;
        }
    }

    /// <summary>Adds the counts to sums. Any thread.</summary>
    internal void AddTo(ulong[] sums)
    {
        for (var bucket = 0; bucket < _counts.Length; bucket++)
        {
            sums[bucket] += Volatile.Read(ref _counts[bucket]);
        }
    }
}
