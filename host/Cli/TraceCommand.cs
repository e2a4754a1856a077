using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;

namespace Vhost.Host.Cli;

/// <summary><c>vhostd trace</c>: what happened to a controller lately.</summary>
internal static class TraceCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var controller = new Argument<string>("CONTROLLER") { Description = "The controller." };
        var requests = new Option<string?>("--requests") { Description = "From now on, record all requests, or only those that fail.", HelpName = "all|failed" };
        requests.AcceptOnlyFromAmong("all", "failed");
        Option<string> socket = RpcCommand.Socket();
        Option<double> timeout = RpcCommand.Timeout();
        Option<bool> json = CommonOptions.Json();
        var command = new ExampleCommand(
            "trace",
            "Show what happened to a controller lately: the protocol messages of its front-end, what its transport and device had to say, and its last requests.",
            "vhostd trace vhost.0",
            "vhostd trace vhost.0 --requests all      record every request, not only those that fail",
            "vhostd trace vhost.0 --json")
        {
            controller, requests, socket, timeout, json,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            if (parsed.GetValue(requests) is { } which)
            {
                int code = await CallAsync("vhostd_set_trace", _ => { }, ("all_requests", which == "all")).ConfigureAwait(false);
                if (code != ExitCode.Success)
                {
                    return code;
                }
            }

            return await CallAsync("vhostd_get_trace", parsed.GetValue(json) ? output.Json : trace => Print(output, trace)).ConfigureAwait(false);

            Task<int> CallAsync(string method, Action<JsonNode> print, params (string Key, bool Value)[] more)
            {
                var parameters = new JsonObject { ["ctrlr"] = parsed.GetRequiredValue(controller) };
                foreach ((string key, bool value) in more)
                {
                    parameters[key] = value;
                }

                return RpcCommand.CallAsync(output, parsed.GetRequiredValue(socket), method, parameters, parsed.GetValue(timeout), print, cancellationToken);
            }
        });
        return command;
    }

    private static void Print(Output output, JsonNode trace)
    {
        foreach (JsonNode? recorded in trace["events"]!.AsArray())
        {
            DateTimeOffset time = DateTimeOffset.Parse(recorded!["time"]!.GetValue<string>(), CultureInfo.InvariantCulture).ToLocalTime();
            output.Line(string.Create(CultureInfo.InvariantCulture, $"{time:yyyy-MM-dd HH:mm:ss.ffffff}  {recorded["level"],-11}  {recorded["text"]}"));
        }

        bool all = trace["all_requests"]!.GetValue<bool>();
        JsonArray requests = trace["requests"]!.AsArray();
        output.Line($"{requests.Count} requests ({(all ? "all are recorded" : "only those that failed are recorded; --requests all records every one")})");
        foreach (JsonNode? request in requests)
        {
            output.Line($"  {request!["age_us"]} us ago  {request["bdev"]}  {request["operation"]}  block {request["start_block"]} + {request["num_blocks"]}  {request["status"]}  {request["latency_us"]} us");
        }
    }
}
