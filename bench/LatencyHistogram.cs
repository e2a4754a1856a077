using System.Numerics;

namespace Vhost.Bench;

/// <summary>Counts latencies in buckets that are at most 1/32 of their value wide. Recording allocates nothing. One thread.</summary>
internal sealed class LatencyHistogram
{
    private const int SubBits = 5;
    private const int SubCount = 1 << SubBits;

    private readonly long[] _buckets = new long[(64 - SubBits + 1) * SubCount];
    private long _sum;

    /// <summary>How many were recorded.</summary>
    public long Count { get; private set; }

    /// <summary>The greatest, in nanoseconds.</summary>
    public long Max { get; private set; }

    /// <summary>The mean, in nanoseconds.</summary>
    public double Mean => Count == 0 ? 0 : (double)_sum / Count;

    /// <summary>Records a latency.</summary>
    /// <param name="nanoseconds">The latency; negative counts as 0.</param>
    public void Record(long nanoseconds)
    {
        nanoseconds = Math.Max(nanoseconds, 0);
        _buckets[BucketOf(nanoseconds)]++;
        Count++;
        _sum += nanoseconds;
        Max = Math.Max(Max, nanoseconds);
    }

    /// <summary>The latency that a share of the requests did not exceed, in nanoseconds.</summary>
    /// <param name="share">Above 0, up to 1.</param>
    public long Percentile(double share)
    {
        var rank = (long)Math.Ceiling(share * Count);
        var seen = 0L;
        for (var i = 0; i < _buckets.Length; i++)
        {
            seen += _buckets[i];
            if (seen >= rank && seen > 0)
            {
                return Math.Min(UpperEdge(i), Max);
            }
        }

        return 0;
    }

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        Array.Clear(_buckets);
        _sum = 0;
        Count = 0;
        Max = 0;
    }

    private static int BucketOf(long value)
    {
        if (value < SubCount)
        {
            return (int)value;
        }

        var shift = BitOperations.Log2((ulong)value) - SubBits;
        return ((shift + 1) << SubBits) + (int)((value >> shift) & (SubCount - 1));
    }

    private static long UpperEdge(int bucket)
    {
        if (bucket < SubCount)
        {
            return bucket;
        }

        var shift = (bucket >> SubBits) - 1;
        return ((long)(SubCount + (bucket & (SubCount - 1)) + 1) << shift) - 1;
    }
}
