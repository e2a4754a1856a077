using System.Runtime.CompilerServices;
using Vhost.Abstractions;

namespace Vhost.Host.Bdevs;

/// <summary>What was done of one operation.</summary>
/// <param name="Count">Requests that succeeded.</param>
/// <param name="Bytes">Their bytes; 0 for flush.</param>
/// <param name="LatencyTicks">Their time from submission to completion, in Stopwatch ticks, to the precision of a turn of the reactor.</param>
/// <param name="MaxLatencyTicks">The longest of them.</param>
/// <param name="MinLatencyTicks">The shortest of them; 0 if there is none.</param>
public readonly record struct OperationStatistics(ulong Count, ulong Bytes, ulong LatencyTicks, ulong MaxLatencyTicks = 0, ulong MinLatencyTicks = 0);

/// <summary>What was done at a port, all channels together.</summary>
/// <param name="Operations">By <see cref="BlockOperation"/>.</param>
/// <param name="Failed">Requests that failed.</param>
/// <param name="Emulated">Requests that the host did by other operations.</param>
/// <param name="StrayCompletions">Completions that came late or twice and were dropped.</param>
/// <param name="Outstanding">Requests under way.</param>
public sealed record BdevStatistics(IReadOnlyList<OperationStatistics> Operations, ulong Failed, ulong Emulated, ulong StrayCompletions, int Outstanding)
{
    /// <summary>Nothing was done.</summary>
    public static BdevStatistics None { get; } = new StatisticsSum().ToStatistics();

    /// <summary>Requests that failed, by <see cref="BlockStatus"/>.</summary>
    public IReadOnlyList<ulong> FailedByStatus { get; init; } = new ulong[StatisticsSum.StatusCount];
}

/// <summary>Counters of a channel: written by its reactor alone, with plain stores; read untorn by others.</summary>
internal struct ChannelCounters
{
#pragma warning disable CS0169, IDE0051 // padding: two lines at both ends, since other channels of other reactors may lie beside this one
    private readonly Reactors.Pad120 _before;
    internal OperationCountersByKind Operations;
    internal FailureCounters Failures;
    internal ulong Emulated;
    internal ulong Stray;
    internal int Outstanding;
    private readonly Reactors.Pad120 _after;
#pragma warning restore CS0169, IDE0051

    /// <summary>Forgets the longest and the shortest latencies.</summary>
    internal void ResetExtremes()
    {
        for (var i = 0; i < 8; i++)
        {
            Operations[i].MaxTicks = 0;
            Operations[i].MinTicks = ulong.MaxValue;
        }
    }

    internal void CountFailure(BlockStatus status) => Failures[(int)status & (StatisticsSum.StatusCount - 1)]++;
}

/// <summary>Counters of one operation.</summary>
internal struct OperationCounters
{
    internal ulong Count;
    internal ulong Bytes;
    internal ulong LatencyTicks;
    internal ulong MaxTicks;
    internal ulong MinTicks;
}

/// <summary>One for each <see cref="BlockOperation"/>, and one that catches what is none.</summary>
[InlineArray(8)]
internal struct OperationCountersByKind
{
    private OperationCounters _first;
}

/// <summary>One for each <see cref="BlockStatus"/>, rounded up to a power of two.</summary>
[InlineArray(StatisticsSum.StatusCount)]
internal struct FailureCounters
{
    private ulong _first;
}

/// <summary>Sums up channels. Not safe for several threads, but the counters that it reads may change meanwhile.</summary>
internal sealed class StatisticsSum
{
    /// <summary>Places for <see cref="BlockStatus"/>.</summary>
    internal const int StatusCount = 16;

    private const int OperationCount = 7;

    private readonly OperationCounters[] _operations = new OperationCounters[OperationCount];
    private readonly ulong[] _failures = new ulong[StatusCount];
    private ulong _emulated;
    private ulong _stray;

    internal StatisticsSum()
    {
        for (var i = 0; i < OperationCount; i++)
        {
            _operations[i].MinTicks = ulong.MaxValue;
        }
    }

    internal int Outstanding { get; set; }

    internal StatisticsSum Clone()
    {
        var clone = new StatisticsSum { _emulated = _emulated, _stray = _stray, Outstanding = Outstanding };
        _operations.CopyTo(clone._operations, 0);
        _failures.CopyTo(clone._failures, 0);
        return clone;
    }

    /// <summary>Adds a channel's counters.</summary>
    internal void Add(ref ChannelCounters counters)
    {
        for (var i = 0; i < OperationCount; i++)
        {
            ref var operation = ref counters.Operations[i];
            ref var sum = ref _operations[i];
            sum.Count += Volatile.Read(ref operation.Count);
            sum.Bytes += Volatile.Read(ref operation.Bytes);
            sum.LatencyTicks += Volatile.Read(ref operation.LatencyTicks);
            sum.MaxTicks = Math.Max(sum.MaxTicks, Volatile.Read(ref operation.MaxTicks));
            sum.MinTicks = Math.Min(sum.MinTicks, Volatile.Read(ref operation.MinTicks));
        }

        for (var i = 0; i < StatusCount; i++)
        {
            _failures[i] += Volatile.Read(ref counters.Failures[i]);
        }

        _emulated += Volatile.Read(ref counters.Emulated);
        _stray += Volatile.Read(ref counters.Stray);
    }

    internal BdevStatistics ToStatistics()
    {
        var failed = 0UL;
        foreach (var count in _failures)
        {
            failed += count;
        }

        return new BdevStatistics(
            Array.ConvertAll(_operations, operation => new OperationStatistics(
                operation.Count,
                operation.Bytes,
                operation.LatencyTicks,
                operation.MaxTicks,
                operation.MinTicks == ulong.MaxValue ? 0 : operation.MinTicks)),
            failed,
            _emulated,
            _stray,
            Outstanding)
        {
            FailedByStatus = (ulong[])_failures.Clone(),
        };
    }
}
