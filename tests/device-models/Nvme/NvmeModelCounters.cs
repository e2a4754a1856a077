namespace Vhost.Testing.DeviceModels.Nvme;

/// <summary>What a controller was asked to do.</summary>
public sealed class NvmeModelCounters
{
    public long Commands { get; set; }

    public long PrpCommands { get; set; }

    public long SglCommands { get; set; }

    public long Flushes { get; set; }

    public long ForcedWrites { get; set; }

    public long Deallocations { get; set; }

    public long ZeroedCommands { get; set; }

    public long Compares { get; set; }

    public long Aborts { get; set; }

    public long Enables { get; set; }

    public long FunctionResets { get; set; }

    public long Shutdowns { get; set; }

    public long DoorbellMessages { get; set; }

    /// <summary>Bytes of the largest command.</summary>
    public long LargestTransferBytes { get; set; }

    /// <summary>Commands that broke a rule of the specification that the model checks.</summary>
    public long Violations { get; set; }

    /// <summary>Stopwatch ticks from seeing the last I/O command's doorbell to writing its completion.</summary>
    public long LastServiceTicks { get; set; }
}
