namespace Vhost.Scsi;

/// <summary>The numbers of <see cref="CommandCounters"/>: for each, that of reads and then that of writes.</summary>
internal enum CommandTotal
{
    /// <summary>Commands that were received.</summary>
    Commands = 0,

    /// <summary>Logical blocks that were transferred.</summary>
    Blocks = 2,

    /// <summary>Time that commands took, in ticks of <see cref="System.Diagnostics.Stopwatch"/>.</summary>
    Ticks = 4,

    /// <summary>Commands with FUA that were received.</summary>
    ForcedCommands = 6,

    /// <summary>Time that those took.</summary>
    ForcedTicks = 8,

    /// <summary>How many numbers there are.</summary>
    Count = 10,
}
