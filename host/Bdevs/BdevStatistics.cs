using System.Runtime.CompilerServices;

namespace Vhost.Host.Bdevs;

/// <summary>What was done of one operation.</summary>
/// <param name="Count">Requests that succeeded.</param>
/// <param name="Bytes">Their bytes; 0 for flush.</param>
/// <param name="LatencyTicks">Their time from submission to completion, in Stopwatch ticks, to the precision of a turn of the reactor.</param>
public readonly record struct OperationStatistics(ulong Count, ulong Bytes, ulong LatencyTicks);

/// <summary>What was done at a port, all channels together.</summary>
/// <param name="Operations">By <see cref="Abstractions.BlockOperation"/>.</param>
/// <param name="Failed">Requests that failed.</param>
/// <param name="Emulated">Requests that the host did by other operations.</param>
/// <param name="StrayCompletions">Completions that came late or twice and were dropped.</param>
/// <param name="Outstanding">Requests under way.</param>
public sealed record BdevStatistics(IReadOnlyList<OperationStatistics> Operations, ulong Failed, ulong Emulated, ulong StrayCompletions, int Outstanding)
{
    /// <summary>Nothing was done.</summary>
    public static BdevStatistics None { get; } = new(new OperationStatistics[7], 0, 0, 0, 0);

    /// <summary>Two of them together.</summary>
    /// <param name="other">The other.</param>
    internal BdevStatistics Plus(BdevStatistics other) => new(
        [.. Operations.Zip(other.Operations, (left, right) => new OperationStatistics(left.Count + right.Count, left.Bytes + right.Bytes, left.LatencyTicks + right.LatencyTicks))],
        Failed + other.Failed,
        Emulated + other.Emulated,
        StrayCompletions + other.StrayCompletions,
        Outstanding + other.Outstanding);
}

/// <summary>Counters of a channel: written by its reactor alone, with plain stores; read untorn by others.</summary>
internal struct ChannelCounters
{
#pragma warning disable CS0169, IDE0051 // padding: two lines at both ends, since other channels of other reactors may lie beside this one
    private readonly Reactors.Pad120 _before;
    internal OperationCountersByKind Operations;
    internal ulong Failed;
    internal ulong Emulated;
    internal ulong Stray;
    internal int Outstanding;
    private readonly Reactors.Pad120 _after;
#pragma warning restore CS0169, IDE0051
}

/// <summary>Counters of one operation.</summary>
internal struct OperationCounters
{
    internal ulong Count;
    internal ulong Bytes;
    internal ulong LatencyTicks;
}

/// <summary>One for each <see cref="Abstractions.BlockOperation"/>, and one that catches what is none.</summary>
[InlineArray(8)]
internal struct OperationCountersByKind
{
    private OperationCounters _first;
}
