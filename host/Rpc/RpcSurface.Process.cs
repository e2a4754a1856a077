using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vhost.Host.Cli;
using Vhost.Host.Manifest;
using Vhost.Host.Observability;

namespace Vhost.Host.Rpc;

/// <content>Methods about the process.</content>
internal sealed partial class RpcSurface
{
    // Allocators, sockets, accelerators, keys: in every configuration that SPDK saves, and without any bdev or controller.
    private static readonly string[] SpdksOwnSubsystems = ["accel", "fsdev", "iobuf", "keyring", "sock", "vmd"];

    private static readonly string[] Signals = ["SIGINT", "SIGTERM", "SIGQUIT"];

    private IEnumerable<RpcMethod> ProcessMethods() =>
    [
        new(
            RpcGroup.Process,
            "rpc_get_methods",
            ["get_rpc_methods"],
            [
                Optional("current", RpcType.Boolean, "Only methods that may be called now: all but framework_start_init. Default: false."),
                Optional("include_aliases", RpcType.Boolean, "Older names as well. Default: true."),
            ],
            "array of names",
            "Lists the methods.",
            arguments => Done(ToJson((arguments.Boolean("include_aliases", true) ? Names : Methods.Select(method => method.Name))
                .Where(name => !arguments.Boolean("current", false) || Find(name)?.Name != StartInit)
                .Order(StringComparer.Ordinal)))),
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
            "load_config",
            [],
            [
                Optional("manifest", RpcType.Object, "A manifest, as save_config gives it: the running state is made to match it."),
                Optional("subsystems", RpcType.Any, "SPDK's form: an array of objects with subsystem and config, an array of calls; they are done in their order."),
            ],
            "object: operations, restart, warnings (calls of SPDK's form that set what only SPDK has, and were left out)",
            "Loads a configuration. One of the two is given.",
            LoadConfigAsync),
        new(
            RpcGroup.Process,
            "vhostd_apply",
            [],
            [
                Required("manifest", RpcType.Object, "The wanted manifest, as a whole."),
                Optional("check", RpcType.Boolean, "Only tell what would be done. Default: false."),
            ],
            "object: operations (what was done, in order), restart (what takes effect at the next start only), warnings",
            "Makes the running state match a manifest by the fewest steps. It is checked as a whole before anything is done. SPDK has no such method.",
            async arguments => ToJson(await Graph.ApplyAsync(new ManifestRequest("manifest") { Content = arguments.Object("manifest") }, arguments.Boolean("check", false)).ConfigureAwait(false))),
        new(
            RpcGroup.Process,
            "vhostd_get_status",
            [],
            [],
            "object: state, time_seconds, health, process, reactors, bdevs, controllers; counters only grow",
            "Tells what runs, how it is, and what it has done. SPDK has no such method.",
            _ => Done(StatusReport.Make(Host.GetStatus()))),
    ];

    private static JsonObject ToJson(ApplyResult result) => new()
    {
        ["operations"] = ToJson(result.Done),
        ["restart"] = ToJson(result.Restart),
        ["warnings"] = ToJson(result.Warnings),
    };

    private async Task<JsonNode?> LoadConfigAsync(RpcArguments arguments)
    {
        var subsystems = arguments.OptionalNode("subsystems");
        var manifest = arguments.OptionalNode("manifest") as JsonObject;
        if (subsystems is null == manifest is null)
        {
            throw RpcException.InvalidParameters("load_config: either manifest or subsystems is given");
        }

        if (manifest is not null)
        {
            return ToJson(await Graph.ApplyAsync(new ManifestRequest("manifest") { Content = manifest }, isCheckOnly: false).ConfigureAwait(false));
        }

        var skipped = new List<string>();
        var calls = new List<(RpcMethod Method, RpcArguments Arguments)>();
        foreach (var subsystem in subsystems as JsonArray ?? throw RpcException.InvalidParameters("load_config: subsystems is an array"))
        {
            if (subsystem is JsonObject { } other && other["subsystem"] is JsonValue title && title.TryGetValue(out string? titleText) && SpdksOwnSubsystems.Contains(titleText))
            {
                skipped.AddRange((other["config"] as JsonArray ?? []).Select(call => $"{titleText}: {call?["method"]} is left out: it sets what only SPDK has"));
                continue;
            }

            foreach (var call in subsystem is JsonObject known && (known["config"] is null || known["config"] is JsonArray)
                ? known["config"] as JsonArray ?? []
                : throw RpcException.InvalidParameters("load_config: a subsystem is an object with config, an array of calls"))
            {
                if (call is not JsonObject json || json["method"] is not JsonValue value || !value.TryGetValue(out string? name))
                {
                    throw RpcException.InvalidParameters("load_config: a call is an object with method and params");
                }

                var method = Find(name) ?? throw new RpcException(RpcException.MethodNotFound, "Method not found", name);
                calls.Add((method, RpcArguments.Decode(method, json["params"] is JsonObject parameters ? JsonSerializer.SerializeToElement(parameters) : default)));
            }
        }

        // All are checked by now; what fails from here on fails in what it does.
        var done = new List<string>();
        foreach (var (method, parameters) in calls)
        {
            await method.Invoke(parameters).ConfigureAwait(false);
            done.Add(method.Name);
        }

        return ToJson(new ApplyResult(done, [], skipped));
    }

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
