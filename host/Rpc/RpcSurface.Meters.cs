using System.Buffers.Binary;
using System.Diagnostics;
using System.Text.Json.Nodes;
using Vhost.Abstractions;
using Vhost.Host.Bdevs;

namespace Vhost.Host.Rpc;

/// <content>Statistics, histograms and limits.</content>
internal sealed partial class RpcSurface
{
    private static readonly string[] ResetModes = ["all", "maxmin", "error", "none"];

    private static readonly RpcParameter ResetMode = Optional("reset_mode", RpcType.String, "What begins anew after this reply: all, maxmin (longest and shortest latencies), error, none. Default: none.");

    private IEnumerable<RpcMethod> MeterMethods() =>
    [
        new(
            RpcGroup.Bdevs,
            "bdev_get_iostat",
            [],
            [
                Optional("name", RpcType.String, "One bdev. Default: all."),
                Optional("names", RpcType.StringList, "Several bdevs."),
                Optional("per_channel", RpcType.Boolean, "Each channel of one bdev by itself. Default: false."),
                ResetMode,
            ],
            "object: tick_rate, ticks, bdevs; or with per_channel: tick_rate, ticks, name, channels",
            "Tells what was done with bdevs. Latencies are in ticks.",
            arguments => Done(GetStatistics(arguments))),
        new(
            RpcGroup.Bdevs,
            "get_bdevs_iostat",
            [],
            [Optional("name", RpcType.String, "One bdev. Default: all.")],
            "array: an object with tick_rate, then one for each bdev",
            "The older form of bdev_get_iostat.",
            arguments => Done(GetOlderStatistics(arguments.OptionalString("name")))),
        new(
            RpcGroup.Bdevs,
            "bdev_reset_iostat",
            [],
            [Optional("name", RpcType.String, "One bdev. Default: all."), Optional("mode", RpcType.String, "As reset_mode of bdev_get_iostat. Default: all.")],
            "true",
            "Lets bdev_get_iostat begin anew. Counters elsewhere go on.",
            arguments =>
            {
                var mode = CheckMode(arguments.OptionalString("mode") ?? "all");
                foreach (var port in GetPorts(arguments.OptionalString("name") is { } name ? [name] : null))
                {
                    Reset(port, mode);
                }

                return Done(true);
            }),
        new(
            RpcGroup.Bdevs,
            "bdev_enable_histogram",
            ["enable_bdev_histogram"],
            [
                BdevName,
                Required("enable", RpcType.Boolean, "Whether latencies are counted."),
                Optional("opc", RpcType.String, "The only operation that is counted: read, write, flush, unmap or write_zeroes. Default: all."),
                Optional("granularity", RpcType.UInt32, $"log2 of the buckets of a range, 1 to {HistogramSettings.MaxGranularity}. Default: {HistogramSettings.DefaultGranularity}."),
                Optional("min_nsec", RpcType.UInt64, "Shorter latencies are counted in the first bucket. Default: 0."),
                Optional("max_nsec", RpcType.UInt64, "Longer latencies are counted in the last bucket. Default: no limit."),
            ],
            "true",
            "Begins to count a bdev's latencies, from zero, or ends it; live.",
            arguments => SetHistogram(arguments, settings => Host.SetBdevHistogram(arguments.String("name"), settings) ? null : NoBdev(arguments.String("name")))),
        new(
            RpcGroup.Bdevs,
            "bdev_get_histogram",
            ["get_bdev_histogram"],
            [BdevName],
            "object: histogram (base64 of 64-bit little-endian counts by bucket), bucket_shift, granularity, min_range, max_range, tsc_rate",
            "Gives a bdev's latencies.",
            arguments => Done(ToJson(GetHistogram(arguments.String("name"))))),
        new(
            RpcGroup.Bdevs,
            "bdev_get_histogram_borders",
            [],
            [BdevName, Required("borders", RpcType.UInt64List, "Latencies in microseconds, ascending.")],
            "object: borders_count, the number of requests below the first border, between each two, and beyond the last",
            "Counts a bdev's latencies between borders, to a bucket's width.",
            arguments => Done(CountBetween(GetHistogram(arguments.String("name")), arguments.UInt64s("borders")))),
        new(
            RpcGroup.Bdevs,
            "bdev_set_qos_limit",
            ["set_bdev_qos_limit"],
            [
                BdevName,
                Optional("rw_ios_per_sec", RpcType.UInt64, "Reads and writes in a second; 0 for no limit. Any number: SPDK rounds up to thousands."),
                Optional("rw_mbytes_per_sec", RpcType.UInt64, "MiB read and written in a second; 0 for no limit."),
                Optional("r_mbytes_per_sec", RpcType.UInt64, "MiB read in a second; 0 for no limit."),
                Optional("w_mbytes_per_sec", RpcType.UInt64, "MiB written in a second; 0 for no limit."),
            ],
            "true",
            "Limits a bdev, all its users together; live. A limit that is not named stays. At least one is named.",
            arguments => True(SetQosAsync(arguments))),
        new(
            RpcGroup.Bdevs,
            "bdev_set_qd_sampling_period",
            ["set_bdev_qd_sampling_period"],
            [BdevName, Required("period", RpcType.UInt64, "Microseconds; 0 ends the sampling.")],
            "true",
            "Lets bdev_get_iostat tell the queue depth. It is counted, not sampled, so the period is only kept.",
            arguments =>
            {
                var port = GetPorts([arguments.String("name")])[0];
                port.QueueDepthPeriodMicroseconds = arguments.UInt64("period");
                return Done(true);
            }),
        new(
            RpcGroup.Bdevs,
            "vhostd_bdev_set_read_only",
            [],
            [BdevName, Required("read_only", RpcType.Boolean, "Whether writes are refused.")],
            "true",
            "Refuses writes to a bdev, whatever it could do itself, or does not any more; live. Guests are told. SPDK has no such method.",
            arguments => True(Graph.ChangeBdevSettingsAsync(arguments.String("name"), section => SetOrRemove(section, "readOnly", arguments.Boolean("read_only", false) ? true : null)))),
        new(
            RpcGroup.Controllers,
            "vhostd_controller_enable_histogram",
            [],
            [
                Controller,
                Required("enable", RpcType.Boolean, "Whether latencies are counted."),
                Optional("granularity", RpcType.UInt32, $"log2 of the buckets of a range, 1 to {HistogramSettings.MaxGranularity}. Default: {HistogramSettings.DefaultGranularity}."),
            ],
            "true",
            "Begins to count the latencies of all that a controller does with its bdevs, from zero, or ends it; live. SPDK has no such method.",
            arguments => SetHistogram(arguments, settings => Host.SetControllerHistogram(arguments.String("ctrlr"), settings)
                ? null
                : RpcException.NoSuchDevice($"there is no running controller \"{arguments.String("ctrlr")}\""))),
        new(
            RpcGroup.Controllers,
            "vhostd_controller_get_histogram",
            [],
            [Controller],
            "object, as of bdev_get_histogram",
            "Gives a controller's latencies. SPDK has no such method.",
            arguments =>
            {
                var name = arguments.String("ctrlr");
                var controller = Host.GetStatus().Controllers.FirstOrDefault(known => known.Name == name) ?? throw RpcException.NoSuchDevice($"there is no running controller \"{name}\"");
                return Done(ToJson(controller.Latencies ?? throw NotCounted()));
            }),
    ];

    private static RpcException NoBdev(string name) => RpcException.InvalidParameters($"there is no bdev \"{name}\"");

    private static RpcException NotCounted() => new(RpcException.InternalError, "Bad address", "its latencies are not counted: call bdev_enable_histogram or vhostd_controller_enable_histogram first");

    private static string CheckMode(string mode) => ResetModes.Contains(mode) ? mode : throw RpcException.InvalidParameters($"\"{mode}\" is none of {string.Join(", ", ResetModes)}");

    private static void Reset(BdevPort port, string mode)
    {
        if (mode is "all" or "maxmin")
        {
            port.ResetStatistics(extremesOnly: mode == "maxmin");
        }
        else if (mode == "error")
        {
            port.ResetFailures();
        }
    }

    private static void SetOrRemove(JsonObject section, string key, JsonNode? value)
    {
        if (value is null)
        {
            section.Remove(key);
        }
        else
        {
            section[key] = value;
        }
    }

    private static Task<JsonNode?> SetHistogram(RpcArguments arguments, Func<HistogramSettings?, RpcException?> set)
    {
        HistogramSettings? settings = null;
        if (arguments.Boolean("enable", false))
        {
            BlockOperation? only = arguments.OptionalString("opc") switch
            {
                null => null,
                "read" => BlockOperation.Read,
                "write" => BlockOperation.Write,
                "flush" => BlockOperation.Flush,
                "unmap" => BlockOperation.Discard,
                "write_zeroes" => BlockOperation.WriteZeroes,
                "compare" => BlockOperation.Compare,
                "compare_and_write" => BlockOperation.CompareAndWrite,
                var other => throw RpcException.InvalidParameters($"there is no operation \"{other}\""),
            };
            try
            {
                settings = new HistogramSettings(
                    (int)Math.Min(arguments.OptionalUInt32("granularity") ?? HistogramSettings.DefaultGranularity, int.MaxValue),
                    ToTicks(arguments.OptionalUInt64("min_nsec") ?? 0),
                    arguments.OptionalUInt64("max_nsec") is { } max ? ToTicks(max) : ulong.MaxValue,
                    only);
            }
            catch (ArgumentOutOfRangeException)
            {
                throw RpcException.InvalidParameters($"granularity is 1 to {HistogramSettings.MaxGranularity}, and min_nsec less than max_nsec");
            }
        }

        return set(settings) is { } failure ? throw failure : Done(true);
    }

    private static ulong ToTicks(ulong nanoseconds) => (ulong)UInt128.Min(ulong.MaxValue, (UInt128)nanoseconds * (ulong)Stopwatch.Frequency / 1_000_000_000);

    private static JsonObject ToJson(LatencyHistogram histogram)
    {
        var bytes = new byte[histogram.Counts.Count * sizeof(ulong)];
        for (var bucket = 0; bucket < histogram.Counts.Count; bucket++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(bucket * sizeof(ulong)), histogram.Counts[bucket]);
        }

        return new JsonObject
        {
            ["histogram"] = Convert.ToBase64String(bytes),
            ["bucket_shift"] = histogram.Settings.Granularity,
            ["granularity"] = histogram.Settings.Granularity,
            ["min_range"] = histogram.Settings.MinRange,
            ["max_range"] = histogram.Settings.MaxRange,
            ["tsc_rate"] = Stopwatch.Frequency,
        };
    }

    private static JsonObject CountBetween(LatencyHistogram histogram, IReadOnlyList<ulong> borders)
    {
        if (borders.Count == 0 || borders.Zip(borders.Skip(1)).Any(pair => pair.First >= pair.Second))
        {
            throw RpcException.InvalidParameters("borders are one or more numbers in ascending order");
        }

        var counts = new ulong[borders.Count + 1];
        var place = 0;
        for (var bucket = 0; bucket < histogram.Counts.Count; bucket++)
        {
            while (place < borders.Count && histogram.Settings.EndOf(bucket) > (UInt128)borders[place] * (ulong)Stopwatch.Frequency / 1_000_000)
            {
                place++;
            }

            counts[place] += histogram.Counts[bucket];
        }

        return new JsonObject { ["borders_count"] = new JsonArray([.. counts.Select(count => JsonValue.Create(count))]) };
    }

    private LatencyHistogram GetHistogram(string bdev) => GetPorts([bdev])[0].Channels.GetHistogram() ?? throw NotCounted();

    /// <summary>The ports of bdevs that are there: all, or those of some names.</summary>
    private BdevPort[] GetPorts(IReadOnlyList<string>? names) => names is null
        ? [.. Host.GetStatus().Bdevs.Where(bdev => bdev.Info is not null).Select(bdev => Host.FindPort(bdev.Name)).OfType<BdevPort>()]
        : [.. names.Select(name => Host.FindPort(name) ?? throw NoBdev(name))];

    private JsonObject GetStatistics(RpcArguments arguments)
    {
        var names = arguments.OptionalStrings("names") ?? (arguments.OptionalString("name") is { } name ? [name] : null);
        var isPerChannel = arguments.Boolean("per_channel", false);
        if (isPerChannel && names is not { Count: 1 })
        {
            throw RpcException.InvalidArgument("per_channel is for one bdev");
        }

        var mode = CheckMode(arguments.OptionalString("reset_mode") ?? "none");
        var ports = GetPorts(names);
        var json = new JsonObject { ["tick_rate"] = Stopwatch.Frequency, ["ticks"] = Stopwatch.GetTimestamp() };
        if (isPerChannel)
        {
            json["name"] = ports[0].Name;
            json["channels"] = new JsonArray([.. ports[0].GetStatisticsByChannel().Select(channel =>
            {
                var counts = new JsonObject { ["thread_id"] = channel.Reactor.Id + 1 };
                AddStatistics(counts, channel.Statistics);
                return counts;
            })]);
        }
        else
        {
            json["bdevs"] = new JsonArray([.. ports.Select(ToStatistics)]);
        }

        foreach (var port in ports)
        {
            Reset(port, mode);
        }

        return json;
    }

    private static JsonObject ToStatistics(BdevPort port)
    {
        var json = new JsonObject { ["name"] = port.Name };
        AddStatistics(json, port.GetStatisticsSinceReset());
        if (port.QueueDepthPeriodMicroseconds is > 0 and var period)
        {
            json["queue_depth_polling_period"] = period;
            json["queue_depth"] = port.GetStatistics().Outstanding;
        }

        return json;
    }

    private static void AddStatistics(JsonObject json, BdevStatistics statistics)
    {
        (string Name, OperationStatistics Counts)[] kinds =
        [
            ("read", statistics.Operations[(int)BlockOperation.Read]),
            ("write", statistics.Operations[(int)BlockOperation.Write]),
            ("unmap", statistics.Operations[(int)BlockOperation.Discard]),
            // No bdev copies: the contract has no such operation.
            ("copy", default),
        ];
        foreach (var (name, counts) in kinds)
        {
            json[$"bytes_{name switch { "read" => "read", "write" => "written", "unmap" => "unmapped", _ => "copied" }}"] = counts.Bytes;
            json[$"num_{name}_ops"] = counts.Count;
        }

        foreach (var (name, counts) in kinds)
        {
            json[$"{name}_latency_ticks"] = counts.LatencyTicks;
            json[$"max_{name}_latency_ticks"] = counts.MaxLatencyTicks;
            json[$"min_{name}_latency_ticks"] = counts.MinLatencyTicks;
        }

        var errors = new JsonObject();
        for (var status = 1; status < statistics.FailedByStatus.Count; status++)
        {
            if (statistics.FailedByStatus[status] > 0)
            {
                var key = (BlockStatus)status switch
                {
                    BlockStatus.Aborted => "aborted",
                    BlockStatus.Miscompare => "miscompare",
                    _ => "failed",
                };
                errors[key] = (errors[key]?.GetValue<ulong>() ?? 0) + statistics.FailedByStatus[status];
            }
        }

        json["io_error"] = errors;
    }

    private JsonArray GetOlderStatistics(string? name) =>
    [
        new JsonObject { ["tick_rate"] = Stopwatch.Frequency },
        .. GetPorts(name is null ? null : [name]).Select(port =>
        {
            var statistics = port.GetStatisticsSinceReset();
            var (read, write) = (statistics.Operations[(int)BlockOperation.Read], statistics.Operations[(int)BlockOperation.Write]);
            return new JsonObject
            {
                ["name"] = port.Name,
                ["bytes_read"] = read.Bytes,
                ["num_read_ops"] = read.Count,
                ["bytes_written"] = write.Bytes,
                ["num_write_ops"] = write.Count,
                ["read_latency_ticks"] = read.LatencyTicks,
                ["write_latency_ticks"] = write.LatencyTicks,
            };
        }),
    ];

    private async Task SetQosAsync(RpcArguments arguments)
    {
        (string Parameter, string Key)[] kinds =
        [
            ("rw_ios_per_sec", "rwIosPerSec"),
            ("rw_mbytes_per_sec", "rwMbytesPerSec"),
            ("r_mbytes_per_sec", "rMbytesPerSec"),
            ("w_mbytes_per_sec", "wMbytesPerSec"),
        ];
        var name = arguments.String("name");
        _ = GetPorts([name]);
        var wanted = kinds.Select(kind => (kind.Key, Value: arguments.OptionalUInt64(kind.Parameter))).Where(kind => kind.Value is not null).ToArray();
        if (wanted.Length == 0)
        {
            throw new RpcException(RpcException.InvalidParams, "No rate limits specified", $"name at least one of {string.Join(", ", kinds.Select(kind => kind.Parameter))}");
        }

        await Graph.ChangeBdevSettingsAsync(name, section =>
        {
            var qos = section["qos"] as JsonObject ?? [];
            foreach (var (key, value) in wanted)
            {
                SetOrRemove(qos, key, value > 0 ? value : null);
            }

            section.Remove("qos");
            if (qos.Count > 0)
            {
                section["qos"] = qos.DeepClone();
            }
        }).ConfigureAwait(false);
    }
}
