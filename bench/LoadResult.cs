namespace Vhost.Bench;

/// <summary>What a load gave.</summary>
internal sealed record LoadResult
{
    /// <summary>Completed requests a second.</summary>
    public required double Iops { get; init; }

    /// <summary>Data, in 10^6 bytes a second.</summary>
    public required double MegabytesPerSecond { get; init; }

    /// <summary>Completed requests.</summary>
    public required long Requests { get; init; }

    /// <summary>Requests that failed.</summary>
    public required long Errors { get; init; }

    /// <summary>Reads whose data was compared.</summary>
    public required long Verified { get; init; }

    /// <summary>Mean latency.</summary>
    public required double MeanMicroseconds { get; init; }

    /// <summary>Median latency.</summary>
    public required double P50Microseconds { get; init; }

    /// <summary>99th percentile.</summary>
    public required double P99Microseconds { get; init; }

    /// <summary>99.9th percentile.</summary>
    public required double P999Microseconds { get; init; }

    /// <summary>Greatest latency.</summary>
    public required double MaxMicroseconds { get; init; }

    /// <summary>Signals of the driver to the device.</summary>
    public required long Kicks { get; init; }

    /// <summary>Interrupts that the driver slept for.</summary>
    public required long Interrupts { get; init; }

    /// <summary>Bytes that the client's thread allocated while it measured.</summary>
    public required long AllocatedBytes { get; init; }

    /// <summary>Garbage collections while it measured.</summary>
    public required int Collections { get; init; }
}
