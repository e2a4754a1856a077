using System.Text.Json;
using System.Text.Json.Nodes;
using Vhost.Host.Bdevs;
using Vhost.Host.Wiring;

namespace Vhost.Host.Rpc;

/// <content>Methods that look closer.</content>
internal sealed partial class RpcSurface
{
    private IEnumerable<RpcMethod> ObservabilityMethods() =>
    [
        new(
            RpcGroup.Process,
            "vhostd_set_histograms",
            [],
            [Required("enable", RpcType.Boolean, "Whether latencies are counted by buckets, from zero.")],
            "true",
            "Switches the latency histograms of all controllers and bdevs that are there now. vhostd_get_status has them, and vhostd top --latency shows percentiles. SPDK has no such method.",
            arguments => Done(SetHistograms(arguments.Boolean("enable", false)))),
        new(
            RpcGroup.Controllers,
            "vhostd_get_trace",
            [],
            [Required("ctrlr", RpcType.String, "The controller.")],
            "object: ctrlr, all_requests, events (what its transport and device said, protocol messages included), requests (the last of each channel)",
            "Tells what happened to a controller lately. SPDK has no such method.",
            arguments => Done(ToJson(Host.GetTrace(arguments.String("ctrlr")) ?? throw NoController(arguments)))),
        new(
            RpcGroup.Controllers,
            "vhostd_set_trace",
            [],
            [
                Required("ctrlr", RpcType.String, "The controller."),
                Required("all_requests", RpcType.Boolean, "Whether all requests are recorded, or only those that fail."),
            ],
            "true",
            "Chooses which requests of a controller are recorded. SPDK has no such method.",
            arguments => Done(Host.TraceRequests(arguments.String("ctrlr"), arguments.Boolean("all_requests", false)) ? true : throw NoController(arguments))),
    ];

    private static RpcException NoController(RpcArguments arguments) => RpcException.NoSuchDevice($"there is no controller \"{arguments.String("ctrlr")}\"");

    private static JsonObject ToJson(ControllerTrace trace) => new()
    {
        ["ctrlr"] = trace.Controller,
        ["all_requests"] = trace.TracesRequests,
        ["events"] = new JsonArray([.. trace.Events.Select(recorded => new JsonObject
        {
            ["time"] = recorded.Time.ToString("O", System.Globalization.CultureInfo.InvariantCulture),
            ["level"] = JsonNamingPolicy.CamelCase.ConvertName(recorded.Level.ToString()),
            ["text"] = recorded.Text,
        })]),
        ["requests"] = new JsonArray([.. trace.Requests.Select(request => new JsonObject
        {
            ["bdev"] = request.Bdev,
            ["age_us"] = Math.Round(request.Age.TotalMicroseconds, 1),
            ["operation"] = JsonNamingPolicy.SnakeCaseLower.ConvertName(request.Operation.ToString()),
            ["status"] = JsonNamingPolicy.SnakeCaseLower.ConvertName(request.Status.ToString()),
            ["start_block"] = request.StartBlock,
            ["num_blocks"] = request.BlockCount,
            ["latency_us"] = Math.Round(System.Diagnostics.Stopwatch.GetElapsedTime(0, (long)request.LatencyTicks).TotalMicroseconds, 1),
        })]),
    };

    private JsonNode SetHistograms(bool enable)
    {
        var status = Host.GetStatus();
        foreach (var bdev in status.Bdevs.Where(bdev => bdev.Info is not null))
        {
            Host.SetBdevHistogram(bdev.Name, enable ? new HistogramSettings() : null);
        }

        foreach (var controller in status.Controllers)
        {
            Host.SetControllerHistogram(controller.Name, enable ? new HistogramSettings() : null);
        }

        return true;
    }
}
