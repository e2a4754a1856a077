using Vhost.Abstractions;

namespace Vhost.Bench;

/// <summary>Which kind of device is loaded.</summary>
internal enum DeviceKind
{
    /// <summary>virtio-blk.</summary>
    Blk,

    /// <summary>virtio-scsi.</summary>
    Scsi,
}

/// <summary>In which order blocks are visited.</summary>
internal enum Pattern
{
    /// <summary>At random.</summary>
    Rand,

    /// <summary>One after the other.</summary>
    Seq,
}

/// <summary>What load to put on a server.</summary>
internal sealed record LoadOptions
{
    /// <summary>The server's socket.</summary>
    public required string Socket { get; init; }

    /// <summary>The kind of device.</summary>
    public DeviceKind Device { get; init; }

    /// <summary>The SCSI target.</summary>
    public byte Target { get; init; }

    /// <summary>Split or packed rings.</summary>
    public VirtqueueFormat Format { get; init; }

    /// <summary>Requests under way, in each queue.</summary>
    public int QueueDepth { get; init; } = 1;

    /// <summary>Entries of each ring.</summary>
    public int QueueSize { get; init; } = 256;

    /// <summary>Request queues.</summary>
    public int QueueCount { get; init; } = 1;

    /// <summary>Bytes of one request.</summary>
    public int BlockSizeBytes { get; init; } = 4096;

    /// <summary>The order.</summary>
    public Pattern Pattern { get; init; }

    /// <summary>How many of 100 requests are reads.</summary>
    public int ReadPercent { get; init; } = 100;

    /// <summary>How long to measure.</summary>
    public double Seconds { get; init; } = 5;

    /// <summary>Measure this many requests, however long they take; 0 to measure by time.</summary>
    public long Requests { get; init; }

    /// <summary>Send one round of requests at a time, this many a second; 0 for as fast as they come back. For what a light load costs.</summary>
    public double RatePerSecond { get; init; }

    /// <summary>How long to load before that.</summary>
    public double WarmUpSeconds { get; init; } = 1;

    /// <summary>Sleep until the device interrupts, instead of polling.</summary>
    public bool UsesInterrupts { get; init; }

    /// <summary>Write patterns and check them when they are read.</summary>
    public bool Verifies { get; init; }

    /// <summary>The CPU of the client's thread, or -1.</summary>
    public int Cpu { get; init; } = -1;

    /// <summary>How much of the disk to use; 0 for all of it.</summary>
    public ulong SizeBytes { get; init; }

    /// <summary>Whether requests go through indirect tables where the device allows it.</summary>
    public bool UsesIndirect { get; init; }

    /// <summary>Whether EVENT_IDX is used where the device allows it.</summary>
    public bool UsesEventIndex { get; init; } = true;

    /// <summary>The size of huge pages for the client's memory, or 0.</summary>
    public ulong HugePageSizeBytes { get; init; }

    /// <summary>Looks on; or null.</summary>
    public ILatencyObserver? Observer { get; init; }
}
