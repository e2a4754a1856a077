using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vhost.Abstractions;
using Vhost.Host.Bdevs;
using Vhost.Host.Wiring;

namespace Vhost.Host.Observability;

/// <summary>
/// A snapshot as JSON: the graph, how it is, and counters that only grow. The command line and the dashboard make rates of two of them. Times are in seconds.
/// </summary>
internal static class StatusReport
{
    /// <summary>Makes the report.</summary>
    /// <param name="status">The snapshot.</param>
    internal static JsonObject Make(HostStatus status) => new()
    {
        ["state"] = Name(status.State),
        ["time_seconds"] = Stopwatch.GetElapsedTime(0).TotalSeconds,
        ["health"] = HealthReport.Of(status).ToJson(),
        ["process"] = new JsonObject
        {
            ["collections"] = GC.CollectionCount(0),
            ["heap_bytes"] = GC.GetTotalMemory(forceFullCollection: false),
        },
        ["reactors"] = new JsonArray([.. status.Reactors.Select(ToJson)]),
        ["controllers"] = new JsonArray([.. status.Controllers.Select(ToJson)]),
        ["bdevs"] = new JsonArray([.. status.Bdevs.Select(bdev => ToJson(bdev, status))]),
    };

    private static JsonObject ToJson(ReactorStatus reactor) => new()
    {
        ["id"] = reactor.Id,
        ["cpu"] = reactor.CpuIndex,
        ["health"] = Name(reactor.Health.State),
        ["busy_seconds"] = reactor.Statistics.Busy.TotalSeconds,
        ["idle_seconds"] = reactor.Statistics.Idle.TotalSeconds,
        ["sleep_seconds"] = reactor.Statistics.Asleep.TotalSeconds,
        ["items"] = reactor.Statistics.Items,
        ["polls"] = reactor.Statistics.Polls,
        ["wakeups"] = reactor.Statistics.WakeUps,
        ["messages"] = reactor.Statistics.Messages,
        ["quarantined"] = reactor.Statistics.Quarantined,
        ["allocated_bytes"] = reactor.Statistics.AllocatedBytes,
        ["compiled_methods"] = reactor.Statistics.CompiledMethods,
    };

    private static JsonObject ToJson(ControllerStatus controller)
    {
        var json = new JsonObject
        {
            ["name"] = controller.Name,
            ["type"] = controller.TypeName,
            ["transport"] = new JsonObject
            {
                ["name"] = controller.TransportName,
                ["type"] = controller.TransportTypeName,
                ["endpoint"] = controller.Endpoint,
                ["state"] = controller.TransportState,
            },
            ["cpus"] = new JsonArray([.. controller.CpuIndexes.Select(cpu => JsonValue.Create(cpu))]),
            ["bdevs"] = new JsonArray([.. controller.Bdevs.Select(reference => new JsonObject { ["place"] = reference.OptionPath, ["bdev"] = reference.BdevName })]),
        };
        AddCounters(json, controller.Statistics ?? BdevStatistics.None, controller.Latencies);
        return json;
    }

    private static JsonObject ToJson(BdevStatus bdev, HostStatus status)
    {
        var json = new JsonObject
        {
            ["name"] = bdev.Name,
            ["type"] = status.BdevSources.FirstOrDefault(source => source.Name == bdev.SourceName)?.TypeName,
            ["source"] = bdev.SourceName,
            ["state"] = Name(bdev.State),
            ["size_bytes"] = bdev.Info is { } info ? info.BlockCount * info.BlockSizeBytes : null,
            ["block_size"] = bdev.Info?.BlockSizeBytes,
            ["product_name"] = bdev.Info?.ProductName,
        };
        AddCounters(json, bdev.Statistics, bdev.Latencies);
        return json;
    }

    private static void AddCounters(JsonObject json, BdevStatistics statistics, LatencyHistogram? latencies)
    {
        var (read, write, flush) = (Of(BlockOperation.Read), Of(BlockOperation.Write), Of(BlockOperation.Flush));
        json["reads"] = read.Count;
        json["read_bytes"] = read.Bytes;
        json["read_seconds"] = ToSeconds(read.LatencyTicks);
        json["writes"] = write.Count;
        json["written_bytes"] = write.Bytes;
        json["write_seconds"] = ToSeconds(write.LatencyTicks);
        json["flushes"] = flush.Count;
        json["operations"] = statistics.Operations.Aggregate(0UL, (sum, operation) => sum + operation.Count);
        json["failed"] = statistics.Failed;
        json["emulated"] = statistics.Emulated;
        json["stray_completions"] = statistics.StrayCompletions;
        json["outstanding"] = statistics.Outstanding;
        if (latencies is not null)
        {
            json["latency"] = ToJson(latencies);
        }

        OperationStatistics Of(BlockOperation operation) => statistics.Operations[(int)operation];
    }

    /// <summary>Percentiles since it was switched on, and the buckets that hold something: [end in microseconds, requests].</summary>
    private static JsonObject ToJson(LatencyHistogram latencies)
    {
        var settings = latencies.Settings;
        return new JsonObject
        {
            ["total"] = latencies.Total,
            ["p50_us"] = latencies.GetPercentile(0.5).TotalMicroseconds,
            ["p90_us"] = latencies.GetPercentile(0.9).TotalMicroseconds,
            ["p99_us"] = latencies.GetPercentile(0.99).TotalMicroseconds,
            ["p999_us"] = latencies.GetPercentile(0.999).TotalMicroseconds,
            ["buckets"] = new JsonArray([.. Enumerable.Range(0, settings.BucketCount).Where(bucket => latencies.Counts[bucket] > 0).Select(bucket =>
                new JsonArray(JsonValue.Create(Math.Round(ToSeconds(settings.EndOf(bucket)) * 1e6, 3)), JsonValue.Create(latencies.Counts[bucket])))]),
        };
    }

    private static double ToSeconds(ulong ticks) => ticks / (double)Stopwatch.Frequency;

    private static string Name<T>(T value)
        where T : struct, Enum => JsonNamingPolicy.CamelCase.ConvertName(value.ToString());
}
