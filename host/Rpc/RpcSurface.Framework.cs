using System.Text.Json.Nodes;
using Vhost.Host.Manifest;
using Vhost.Host.Reactors;

namespace Vhost.Host.Rpc;

/// <content>What SPDK calls its framework: reactors, subsystems, the log.</content>
internal sealed partial class RpcSurface
{
    private const int InvalidState = -1;

    private const string StartInit = "framework_start_init";

    private static readonly TimeSpan ReactorLimit = TimeSpan.FromSeconds(10);

    private LogLevels Log => _context!.Log;

    private IEnumerable<RpcMethod> FrameworkMethods() =>
    [
        Framework(StartInit, ["start_subsystem_init"], [], "error: vhostd has started everything before it serves RPC", "Starts the subsystems.", _ => throw new RpcException(
            InvalidState,
            "Method may only be called before framework is initialized. Use --wait-for-rpc command line parameter and then issue this RPC before the framework_start_init RPC.",
            "vhostd has started everything before it serves RPC; nothing is left to do")),
        Framework("framework_wait_init", ["wait_subsystem_init"], [], "true", "Returns when everything runs.", _ => Done(true)),
        Framework("framework_get_subsystems", ["get_subsystems"], [], "array of objects: subsystem, depends_on", "Lists what framework_get_config knows.", _ => Done(GetSubsystems())),
        Framework(
            "framework_get_config",
            ["get_subsystem_config"],
            [Required("name", RpcType.String, "bdev, vhost_scsi or vhost_blk."), Optional("with_batches", RpcType.Boolean, "Accepted; there are none.")],
            "array of calls (method, params) that make the present state again",
            "Gives the configuration in SPDK's form, which rpc.py save_config collects and load_config calls.",
            arguments => Done(GetConfig(arguments.String("name")))),
        Framework("framework_get_reactors", [], [], "object: tick_rate, pid, reactors", "Tells of the reactors.", _ => GetReactorsAsync()),
        Framework("thread_get_stats", [], [], "object: tick_rate, threads", "Tells what the reactors did. Each is one thread.", _ => GetThreadsAsync()),
        Framework("thread_get_pollers", [], [], "object: tick_rate, threads", "Lists what the reactors poll.", _ => GetPollersAsync()),
        Framework("framework_get_scheduler", [], [], "object: scheduler_name, scheduler_period, isolated_core_mask, scheduling_core", "Tells how queues come to reactors: static, by their number; vhost_controller_move changes it.", _ => Done(new JsonObject
        {
            ["scheduler_name"] = "static",
            ["scheduler_period"] = 0,
            ["isolated_core_mask"] = "0x0",
            ["scheduling_core"] = Host.GetStatus().Reactors[0].CpuIndex,
        })),
        Framework(
            "framework_set_scheduler",
            [],
            [Required("name", RpcType.String, "static."), Unused("period", RpcType.UInt64), Unused("load_limit", RpcType.UInt32), Unused("core_limit", RpcType.UInt32), Unused("core_busy", RpcType.UInt32)],
            "true",
            "Chooses the scheduler: there is only the static one.",
            arguments => arguments.String("name") == "static" ? Done(true) : throw RpcException.InvalidParameters("the only scheduler is static; vhost_controller_move moves a controller")),
        Framework("framework_get_governor", [], [], "object, empty: vhostd leaves the CPUs' frequency alone", "Tells how the CPUs' frequency is governed.", _ => Done(new JsonObject())),
        Framework(
            "framework_monitor_context_switch",
            ["context_switch_monitor"],
            [Unused("enabled", RpcType.Boolean)],
            "object: enabled, which is false",
            "vhostd counts no context switches; /proc/PID/task/TID/status has them, and framework_get_reactors the TIDs.",
            _ => Done(new JsonObject { ["enabled"] = false })),
        Framework("log_get_level", ["get_log_level"], [], "name of the level", "Tells how much is logged.", _ => Done(Log.Name)),
        Framework("log_get_print_level", ["get_log_print_level"], [], "name of the level", "As log_get_level: there is one log, on standard error.", _ => Done(Log.Name)),
        Framework("log_set_level", ["set_log_level"], [Level], "true", "Sets how much is logged; live.", SetLevel),
        Framework("log_set_print_level", ["set_log_print_level"], [Level], "true", "As log_set_level: there is one log, on standard error.", SetLevel),
        Framework("log_get_flags", ["get_log_flags"], [], "object: true or false by part", "Tells which parts log everything.", _ =>
            Done(new JsonObject(Log.Flags.Select(flag => KeyValuePair.Create(flag.Key, (JsonNode?)flag.Value))))),
        Framework("log_set_flag", ["set_log_flag"], [Flag], "true", "Lets a part log everything; live.", arguments => SetFlag(arguments, true)),
        Framework("log_clear_flag", ["clear_log_flag"], [Flag], "true", "Lets a part log what the level allows; live.", arguments => SetFlag(arguments, false)),
    ];

    private static RpcParameter Level => Required("level", RpcType.String, $"One of {string.Join(", ", LogLevels.LevelNames)}.");

    private static RpcParameter Flag => Required("flag", RpcType.String, "A part that log_get_flags names, or all.");

    private static RpcMethod Framework(string name, IReadOnlyList<string> olderNames, IReadOnlyList<RpcParameter> parameters, string result, string description, Func<RpcArguments, Task<JsonNode?>> invoke) =>
        new(RpcGroup.Framework, name, olderNames, parameters, result, description, invoke);

    private static JsonArray GetSubsystems() =>
    [
        new JsonObject { ["subsystem"] = "bdev", ["depends_on"] = new JsonArray() },
        new JsonObject { ["subsystem"] = "vhost_scsi", ["depends_on"] = new JsonArray("bdev") },
        new JsonObject { ["subsystem"] = "vhost_blk", ["depends_on"] = new JsonArray("bdev") },
    ];

    private Task<JsonNode?> SetLevel(RpcArguments arguments) =>
        Log.TrySet(arguments.String("level")) ? Done(true) : throw RpcException.InvalidParameters($"\"{arguments.String("level")}\" is none of {string.Join(", ", LogLevels.LevelNames)}");

    private Task<JsonNode?> SetFlag(RpcArguments arguments, bool isSet) =>
        Log.TrySetFlag(arguments.String("flag"), isSet) ? Done(true) : throw RpcException.InvalidParameters($"there is no part \"{arguments.String("flag")}\"; log_get_flags names them");

    private async Task<JsonNode?> GetReactorsAsync()
    {
        var reactors = new JsonArray();
        foreach (var reactor in Host.Reactors)
        {
            var statistics = reactor.GetStatistics();
            reactors.Add(new JsonObject
            {
                ["lcore"] = reactor.CpuIndex,
                ["tid"] = reactor.ThreadId,
                ["busy"] = ToTicks(statistics.Busy),
                ["idle"] = ToTicks(statistics.Idle),
                ["in_interrupt"] = reactor.IsInterruptDriven,
                ["lw_threads"] = new JsonArray(new JsonObject
                {
                    ["name"] = NameOf(reactor),
                    ["id"] = reactor.Id + 1,
                    ["cpumask"] = ToMask([reactor.CpuIndex])[2..],
                    ["elapsed"] = ToTicks(statistics.Busy + statistics.Idle),
                }),
            });
        }

        await Task.CompletedTask.ConfigureAwait(false);
        return new JsonObject { ["tick_rate"] = System.Diagnostics.Stopwatch.Frequency, ["pid"] = Environment.ProcessId, ["reactors"] = reactors };
    }

    private async Task<JsonNode?> GetThreadsAsync()
    {
        var threads = new JsonArray();
        foreach (var reactor in Host.Reactors)
        {
            var (pollers, timers) = await GetWorkAsync(reactor).ConfigureAwait(false);
            var statistics = reactor.GetStatistics();
            threads.Add(new JsonObject
            {
                ["name"] = NameOf(reactor),
                ["id"] = reactor.Id + 1,
                ["cpumask"] = ToMask([reactor.CpuIndex])[2..],
                ["busy"] = ToTicks(statistics.Busy),
                ["idle"] = ToTicks(statistics.Idle),
                ["active_pollers_count"] = pollers.Count(poller => poller.State == PollerState.Active),
                ["timed_pollers_count"] = timers.Count,
                ["paused_pollers_count"] = pollers.Count(poller => poller.State != PollerState.Active),
            });
        }

        return new JsonObject { ["tick_rate"] = System.Diagnostics.Stopwatch.Frequency, ["threads"] = threads };
    }

    private async Task<JsonNode?> GetPollersAsync()
    {
        var threads = new JsonArray();
        foreach (var reactor in Host.Reactors)
        {
            var (pollers, timers) = await GetWorkAsync(reactor).ConfigureAwait(false);
            JsonArray List(IEnumerable<(string Name, string State)> items) => [.. items.Select(item => new JsonObject { ["name"] = item.Name, ["state"] = item.State })];
            threads.Add(new JsonObject
            {
                ["name"] = NameOf(reactor),
                ["id"] = reactor.Id + 1,
                ["active_pollers"] = List(pollers.Where(poller => poller.State == PollerState.Active).Select(poller => (poller.Name, "running"))),
                ["timed_pollers"] = List(timers.Select(timer => (timer, "waiting"))),
                ["paused_pollers"] = List(pollers.Where(poller => poller.State != PollerState.Active).Select(poller => (poller.Name, poller.State.ToString().ToLowerInvariant()))),
            });
        }

        return new JsonObject { ["tick_rate"] = System.Diagnostics.Stopwatch.Frequency, ["threads"] = threads };
    }

    private static async Task<(IReadOnlyList<(string Name, PollerState State)> Pollers, IReadOnlyList<string> Timers)> GetWorkAsync(Reactor reactor)
    {
        try
        {
            return await reactor.GetWorkAsync(ReactorLimit).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            throw RpcException.Busy($"reactor {reactor.Id} does not return from {reactor.Describe()}");
        }
    }

    private static string NameOf(Reactor reactor) => $"reactor_{reactor.Id}";

    private static long ToTicks(TimeSpan time) => (long)(time.TotalSeconds * System.Diagnostics.Stopwatch.Frequency);

    private JsonArray GetConfig(string name) => name switch
    {
        "bdev" => new(SpdkConfig.OfBdevs(Graph.Save(), this).ToArray<JsonNode?>()),
        "vhost_scsi" => new(SpdkConfig.OfControllers(Graph.Save(), ManifestDiff.ScsiType).ToArray<JsonNode?>()),
        "vhost_blk" => new(SpdkConfig.OfControllers(Graph.Save(), "blk").ToArray<JsonNode?>()),
        _ => throw RpcException.InvalidParameters($"there is no subsystem \"{name}\": bdev, vhost_scsi, vhost_blk"),
    };
}
