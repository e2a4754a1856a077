using System.Globalization;
using System.Text.Json.Nodes;
using Vhost.Host.Cli;
using Vhost.Host.Observability;

namespace Vhost.Host.Rpc;

/// <content>Methods about the process.</content>
internal sealed partial class RpcSurface
{
    private static readonly string[] Signals = ["SIGINT", "SIGTERM", "SIGQUIT"];

    private IEnumerable<RpcMethod> ProcessMethods() =>
    [
        new(
            RpcGroup.Process,
            "rpc_get_methods",
            ["get_rpc_methods"],
            [
                Optional("current", RpcType.Boolean, "Only methods that may be called now: all."),
                Optional("include_aliases", RpcType.Boolean, "Older names as well. Default: true."),
            ],
            "array of names",
            "Lists the methods.",
            arguments => Done(ToJson(arguments.Boolean("include_aliases", true) ? Names.Order(StringComparer.Ordinal) : Methods.Select(method => method.Name).Order(StringComparer.Ordinal)))),
        new(
            RpcGroup.Process,
            "spdk_get_version",
            ["get_spdk_version"],
            [],
            "object: version, fields",
            "Tells the version of vhostd, in the form in which SPDK tells its own.",
            _ => Done(GetVersion())),
        new(
            RpcGroup.Process,
            "spdk_kill_instance",
            ["kill_instance"],
            [Required("sig_name", RpcType.String, $"One of {string.Join(", ", Signals)}: each stops in order, within 5 seconds.")],
            "true, sent before the process ends",
            "Stops vhostd.",
            KillAsync),
        new(
            RpcGroup.Process,
            "save_config",
            [],
            [],
            "object: a manifest",
            "Gives a manifest that starts the present state again. Controllers that were created with delay and not started are not in it.",
            _ => Done(Graph.Save())),
        new(
            RpcGroup.Process,
            "vhostd_get_status",
            [],
            [],
            "object: state, time_seconds, health, process, reactors, bdevs, controllers; counters only grow",
            "Tells what runs, how it is, and what it has done. SPDK has no such method.",
            _ => Done(StatusReport.Make(Host.GetStatus()))),
    ];

    private static JsonObject GetVersion()
    {
        var parts = VersionCommand.Version.Split('+')[0].Split('-', 2);
        var numbers = parts[0].Split('.').Select(number => int.Parse(number, CultureInfo.InvariantCulture)).ToArray();
        return new JsonObject
        {
            ["version"] = $"vhostd {VersionCommand.Version}",
            ["fields"] = new JsonObject
            {
                ["major"] = numbers[0],
                ["minor"] = numbers.ElementAtOrDefault(1),
                ["patch"] = numbers.ElementAtOrDefault(2),
                ["suffix"] = parts.Length > 1 ? $"-{parts[1]}" : "",
            },
        };
    }

    private Task<JsonNode?> KillAsync(RpcArguments arguments)
    {
        var signal = arguments.String("sig_name");
        if (!Signals.Contains(signal))
        {
            throw RpcException.InvalidParameters($"\"{signal}\" is none of {string.Join(", ", Signals)}");
        }

        _context!.Stop(signal);
        return Done(true);
    }
}
