using System.Diagnostics;
using Vhost.Abstractions;

namespace Vhost.Plugins.Delay;

/// <summary>How long results are kept, in Stopwatch ticks.</summary>
/// <param name="options">Valid options.</param>
internal sealed class DelayTimes(DelayOptions options)
{
    private readonly (long Average, long P99) _read = Ticks(options.ReadAverageUs, options.ReadP99Us);
    private readonly (long Average, long P99) _write = Ticks(options.WriteAverageUs, options.WriteP99Us);
    private readonly (long Average, long P99) _flush = Ticks(options.FlushAverageUs, options.FlushP99Us);

    /// <summary>The time for most requests of an operation, and for one of a hundred.</summary>
    internal (long Average, long P99) Of(BlockOperation operation) => operation switch
    {
        BlockOperation.Read => _read,
        BlockOperation.Flush => _flush,
        _ => _write,
    };

    private static (long Average, long P99) Ticks(double average, double? p99) => (Ticks(average), Ticks(p99 ?? average));

    private static long Ticks(double microseconds) => (long)(microseconds * Stopwatch.Frequency / 1e6);
}
