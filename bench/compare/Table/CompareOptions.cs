namespace Vhost.Bench;

/// <summary>What the comparison uses, and how long it takes.</summary>
internal sealed record CompareOptions
{
    /// <summary>The published vhostd.</summary>
    public required string Vhostd { get; init; }

    /// <summary>The peer, qemu-storage-daemon.</summary>
    public required string Peer { get; init; }

    /// <summary>SPDK's vhost program, to measure it in turn with vhostd; null not to.</summary>
    public string? Spdk { get; init; }

    /// <summary>A directory on a disk, for the file that both serve.</summary>
    public string DiskDirectory { get; init; } = "/var/tmp";

    /// <summary>A directory on tmpfs.</summary>
    public string MemoryDirectory { get; init; } = "/dev/shm";

    /// <summary>Runs of each side of a case; they alternate.</summary>
    public int Rounds { get; init; } = 5;

    /// <summary>Length of a run.</summary>
    public double Seconds { get; init; } = 0.6;

    /// <summary>Load before each run.</summary>
    public double WarmUpSeconds { get; init; } = 0.3;

    /// <summary>Size of the disks.</summary>
    public int DiskMiB { get; init; } = 256;

    /// <summary>Requests that are counted for allocation and collections.</summary>
    public long EndlessRequests { get; init; } = 100_000_000;

    /// <summary>Controllers that are connected and idle.</summary>
    public int IdleControllers { get; init; } = 64;

    /// <summary>How long their CPU time is measured.</summary>
    public double IdleSeconds { get; init; } = 5;

    /// <summary>At most how long it is waited before that until the runtime has compiled what connecting made it compile.</summary>
    public double SettleSeconds { get; init; } = 10;

    /// <summary>Pairs of runs with and without metrics in each round.</summary>
    public int MetricsPairsPerRound { get; init; } = 10;

    /// <summary>Scrapes of the metrics before those that are measured: the runtime compiles meanwhile.</summary>
    public int WarmUpScrapes { get; init; } = 150;

    /// <summary>How often the first request after a rest is timed.</summary>
    public int FirstRequests { get; init; } = 100;

    /// <summary>Size of the guest whose memory table is set.</summary>
    public ulong GuestBytes { get; init; } = 128UL << 30;

    /// <summary>How often it is set.</summary>
    public int MemoryTables { get; init; } = 20;

    /// <summary>The CPU of the server.</summary>
    public int ServerCpu { get; init; }

    /// <summary>The CPU of the client.</summary>
    public int ClientCpu { get; init; } = 1;

    /// <summary>Only cases whose name has one of these in it; empty for all.</summary>
    public IReadOnlyList<string> Only { get; init; } = [];
}
