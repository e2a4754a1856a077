namespace Vhost.Bench;

/// <summary>What a number of requests cost, counted. Nothing here depends on how fast the machine is.</summary>
internal sealed record PathCounts
{
    /// <summary>Requests.</summary>
    public required long Requests { get; init; }

    /// <summary>Bytes allocated on the reactors' threads.</summary>
    public required long AllocatedBytes { get; init; }

    /// <summary>System calls of the reactors' threads.</summary>
    public required long SystemCalls { get; init; }

    /// <summary>Kicks that the driver had to send.</summary>
    public required long Kicks { get; init; }

    /// <summary>Interrupts that the device sent.</summary>
    public required long Interrupts { get; init; }

    /// <summary>Calls across the boundary to the bdev's plugin, both ways.</summary>
    public required long BoundaryCalls { get; init; }

    /// <summary>Messages between threads that the reactors ran.</summary>
    public required long Messages { get; init; }

    /// <summary>Times a thread of the process waited for a lock that another held.</summary>
    public required long LockContentions { get; init; }

    /// <summary>How long it took, in seconds. For reports; never for a verdict.</summary>
    public required double Seconds { get; init; }

    /// <summary>Requests a second.</summary>
    public double Rate => Requests / Seconds;
}
