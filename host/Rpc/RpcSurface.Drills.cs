using System.Globalization;
using System.Text.Json.Nodes;
using Vhost.Host.Manifest;

namespace Vhost.Host.Rpc;

/// <content>Bdevs that disturb others, in SPDK's form: for drills while guests run.</content>
internal sealed partial class RpcSurface
{
    private const string ErrorType = "error";
    private const string DelayType = "delay";
    private const string RulesKey = "rules";
    private const string OperationKey = "operation";
    private const string RoundKey = "round";

    // What SPDK calls a bdev that disturbs another.
    private const string ErrorPrefix = "EE_";

    // More than can ever be under way.
    private const ulong LargestQueueDepth = 1 << 30;

    // Behind the end of any request.
    private const ulong LargestOffset = 1UL << 40;

    // As in SPDK each type counts for itself, so "all" is a rule for each. Reads and writes come first: a forced write counts as a write.
    private static readonly string[] DataOperations = ["read", "write"];
    private static readonly string[] AllOperations = [.. DataOperations, "discard", "flush"];

    private IEnumerable<RpcMethod> DrillMethods() =>
    [
        new(
            RpcGroup.Bdevs,
            "bdev_error_create",
            ["construct_error_bdev"],
            [Required("base_name", RpcType.String, $"The bdev that is disturbed; the new one is called {ErrorPrefix} and its name."), Unused("uuid", RpcType.String)],
            "true",
            "Creates a bdev that lets requests of another fail, hang or return wrong data, as bdev_error_inject_error says.",
            async arguments =>
            {
                await CreateOneAsync(ErrorPrefix + arguments.String("base_name"), new JsonObject { [ManifestSections.TypeKey] = ErrorType, ["bdev"] = arguments.String("base_name") }).ConfigureAwait(false);
                return true;
            }),
        Delete("bdev_error_delete", ["delete_error_bdev"], BdevName, ErrorType, "Deletes an error bdev; the one below stays."),
        new(
            RpcGroup.Bdevs,
            "bdev_error_inject_error",
            ["bdev_inject_error"],
            [
                BdevName,
                Required("io_type", RpcType.String, "What is disturbed: read, write, unmap, flush or all; or clear: nothing any more, and what hangs fails."),
                Required("error_type", RpcType.String, "failure, pending (no answer until an abort or clear), corrupt_data (of reads and writes) or nomem (the driver tries again)."),
                Optional("num", RpcType.UInt32, "How many requests, with all: how many of each type; 0 for none. Default: 1."),
                Optional("queue_depth", RpcType.UInt64, "Only requests that come while at least so many others of their reactor, of any type, are under way below. What failed or hangs by a call is not under way. Default: 0."),
                Optional("corrupt_offset", RpcType.UInt64, "With corrupt_data: which byte of a request's data. Default: 0."),
                Optional("corrupt_value", RpcType.UInt32, "With corrupt_data: the bits that are inverted, 1 to 255. Default: 255."),
            ],
            "true",
            "Disturbs requests of an error bdev; live. It replaces what an earlier call said for that type of request, and leaves the rest.",
            arguments => True(InjectAsync(arguments))),
        new(
            RpcGroup.Bdevs,
            "bdev_delay_create",
            [],
            [
                Required("base_bdev_name", RpcType.String, "The bdev that is made slow."),
                BdevName,
                Required("avg_read_latency", RpcType.UInt64, "Microseconds that are added to reads."),
                Required("p99_read_latency", RpcType.UInt64, "Microseconds that are added to one read of a hundred instead."),
                Required("avg_write_latency", RpcType.UInt64, "Microseconds that are added to writes."),
                Required("p99_write_latency", RpcType.UInt64, "Microseconds that are added to one write of a hundred instead."),
                Unused("uuid", RpcType.String),
            ],
            "name of the bdev",
            "Creates a bdev that makes another slow.",
            arguments => CreateOneAsync(arguments.String("name"), new JsonObject
            {
                [ManifestSections.TypeKey] = DelayType,
                ["bdev"] = arguments.String("base_bdev_name"),
                ["readAverageUs"] = arguments.UInt64("avg_read_latency"),
                ["readP99Us"] = arguments.UInt64("p99_read_latency"),
                ["writeAverageUs"] = arguments.UInt64("avg_write_latency"),
                ["writeP99Us"] = arguments.UInt64("p99_write_latency"),
            })),
        Delete("bdev_delay_delete", [], BdevName, DelayType, "Deletes a delay bdev; the one below stays."),
        new(
            RpcGroup.Bdevs,
            "bdev_delay_update_latency",
            [],
            [
                Required("delay_bdev_name", RpcType.String, "The bdev."),
                Required("latency_type", RpcType.String, "avg_read, p99_read, avg_write or p99_write."),
                Required("latency_us", RpcType.UInt64, "Microseconds."),
            ],
            "true",
            "Changes a latency of a delay bdev; live. Of the average and the 99th percentile of one type, the other follows where the percentile would be the shorter.",
            arguments => True(UpdateLatencyAsync(arguments))),
    ];

    /// <summary>A number, whatever type of number the node was made of.</summary>
    private static double? NumberOf(JsonNode? node) => node is null ? null : double.Parse(node.ToJsonString(), CultureInfo.InvariantCulture);

    private Task InjectAsync(RpcArguments arguments)
    {
        string[] operations = arguments.String("io_type") switch
        {
            "clear" => [],
            "unmap" => ["discard"],
            "read" or "write" or "flush" => [arguments.String("io_type")],
            "all" => arguments.String("error_type") == "corrupt_data" ? DataOperations : AllOperations,
            var other => throw RpcException.InvalidParameters($"io_type \"{other}\" is none of clear, read, write, unmap, flush, all"),
        };
        var (action, status) = arguments.String("error_type") switch
        {
            "failure" => ("fail", "ioError"),
            "nomem" => ("fail", "busy"),
            "pending" => ("hang", "ioError"),
            "corrupt_data" => ("corrupt", "ioError"),
            var other => throw RpcException.InvalidParameters($"error_type \"{other}\" is none of failure, pending, corrupt_data, nomem"),
        };
        var count = arguments.OptionalUInt32("num") ?? 1;
        return Graph.AdjustBdevsAsync(arguments.String("name"), ErrorType, section =>
        {
            var former = section[RulesKey] as JsonArray ?? [];
            // The new rule counts from nothing, also where it says what the former one did.
            var round = former.Select(rule => (int)(NumberOf(rule![RoundKey]) ?? 0)).DefaultIfEmpty().Max() + 1;
            var isEverything = arguments.String("io_type") is "clear" or "all";
            var rules = isEverything ? [] : new JsonArray([.. former.Where(rule => !operations[0].Equals(rule![OperationKey]?.GetValue<string>() ?? "all", StringComparison.OrdinalIgnoreCase)).Select(rule => rule!.DeepClone())]);
            for (var i = 0; i < operations.Length && count > 0; i++)
            {
                var rule = new JsonObject { [OperationKey] = operations[i], ["action"] = action, ["status"] = status, ["count"] = count, [RoundKey] = round };
                if (arguments.OptionalUInt64("queue_depth") is > 0 and var depth)
                {
                    rule["queueDepth"] = Math.Min(depth, LargestQueueDepth);
                }

                if (arguments.OptionalUInt64("corrupt_offset") is > 0 and var offset)
                {
                    rule["corruptOffset"] = Math.Min(offset, LargestOffset);
                }

                if (arguments.OptionalUInt32("corrupt_value") is { } value)
                {
                    rule["corruptMask"] = value;
                }

                rules.Insert(i, rule);
            }

            section.Remove(RulesKey);
            if (rules.Count > 0)
            {
                section[RulesKey] = rules;
            }
        });
    }

    private Task UpdateLatencyAsync(RpcArguments arguments)
    {
        var (isP99, stem) = arguments.String("latency_type") switch
        {
            "avg_read" => (false, "read"),
            "p99_read" => (true, "read"),
            "avg_write" => (false, "write"),
            "p99_write" => (true, "write"),
            var other => throw RpcException.InvalidParameters($"latency_type \"{other}\" is none of avg_read, p99_read, avg_write, p99_write"),
        };
        var latency = arguments.UInt64("latency_us");
        return Graph.AdjustBdevsAsync(arguments.String("delay_bdev_name"), DelayType, section =>
        {
            var (averageKey, p99Key) = ($"{stem}AverageUs", $"{stem}P99Us");
            var (average, p99) = (NumberOf(section[averageKey]) ?? 0, NumberOf(section[p99Key]));
            section[isP99 ? p99Key : averageKey] = latency;
            if (isP99 ? latency < average : p99 < latency)
            {
                section[isP99 ? averageKey : p99Key] = latency;
            }
            else if (!isP99 && p99 is null)
            {
                // What was not named followed the average; as SPDK has it, it stays now.
                section[p99Key] = Math.Max(average, latency);
            }
        });
    }
}
