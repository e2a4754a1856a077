using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;

namespace Vhost.Host.Cli;

/// <summary><c>vhostd top</c>: rates, latencies, queue depth and CPU of a running vhostd, again and again.</summary>
internal static class TopCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        Option<string> socket = RpcCommand.Socket();
        Option<double> timeout = RpcCommand.Timeout();
        Option<bool> json = CommonOptions.Json();
        Option<double> interval = new("--interval", "-i") { Description = "Seconds between two views.", HelpName = "SECONDS", DefaultValueFactory = _ => 1 };
        Option<int> count = new("--count", "-n") { Description = "Views to show; 0 for no end.", HelpName = "N", DefaultValueFactory = _ => 0 };
        Option<bool> latency = new("--latency", "-l") { Description = "Count latencies by buckets while this runs, for the percentiles; the histograms of controllers and bdevs begin at zero, and are off at the end." };
        var command = new ExampleCommand(
            "top",
            "Show what a running vhostd does, again and again: IOPS, bandwidth, latency, queue depth and CPU of each controller, bdev and reactor. In a terminal it fits the window, and q ends it; elsewhere the views follow each other as text; with --json each is one line.",
            "vhostd top",
            "vhostd top -n 1 -i 5",
            "vhostd top --latency -n 3                    with percentiles",
            "vhostd top --json -n 60 > load.jsonl")
        {
            socket, interval, count, latency, timeout, json,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            TextWriter writer = parsed.InvocationConfiguration.Output;
            var output = new Output(writer, parsed.InvocationConfiguration.Error);
            TimeSpan pause = TimeSpan.FromSeconds(Math.Clamp(parsed.GetValue(interval), 0.05, 86400));
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            using TopScreen? screen = !parsed.GetValue(json) && ReferenceEquals(writer, Console.Out) ? TopScreen.TryOpen(writer, stop.Cancel) : null;
            // At Ctrl-C what was switched on is switched off again, and the terminal is left as it was.
            bool endsAtSignal = screen is not null || parsed.GetValue(latency);
            using PosixSignalRegistration? interrupt = endsAtSignal ? PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal) : null;
            using PosixSignalRegistration? terminate = endsAtSignal ? PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal) : null;
            if (!parsed.GetValue(latency))
            {
                return await WatchAsync().ConfigureAwait(false);
            }

            int code = await SwitchAsync(true).ConfigureAwait(false);
            if (code != ExitCode.Success)
            {
                return code;
            }

            try
            {
                return await WatchAsync().ConfigureAwait(false);
            }
            finally
            {
                await SwitchAsync(false).ConfigureAwait(false);
            }

            void OnSignal(PosixSignalContext context)
            {
                context.Cancel = true;
                stop.Cancel();
            }

            Task<int> SwitchAsync(bool enable) => RpcCommand.CallAsync(
                output, parsed.GetRequiredValue(socket), "vhostd_set_histograms", new JsonObject { ["enable"] = enable }, parsed.GetValue(timeout), _ => { }, CancellationToken.None);

            async Task<int> WatchAsync()
            {
                try
                {
                    return await ShowAsync(stop.Token).ConfigureAwait(false);
                }
                catch (OperationCanceledException) when (endsAtSignal)
                {
                    return ExitCode.Success;
                }
            }

            async Task<int> ShowAsync(CancellationToken stopping)
            {
                JsonNode? before = null;
                for (int shown = 0; ;)
                {
                    JsonNode? now = null;
                    int code = await RpcCommand.CallAsync(output, parsed.GetRequiredValue(socket), "vhostd_get_status", [], parsed.GetValue(timeout), status => now = status, stopping)
                        .ConfigureAwait(false);
                    if (code != ExitCode.Success || now is null)
                    {
                        return code;
                    }

                    if (before is not null)
                    {
                        JsonObject rates = Rates.Between(before, now);
                        if (screen is not null)
                        {
                            screen.Show(columns => Draw(rates, columns));
                        }
                        else
                        {
                            writer.Write((parsed.GetValue(json) ? rates.ToJsonString() : Draw(rates)) + "\n");
                            writer.Flush();
                        }

                        if (++shown == parsed.GetValue(count))
                        {
                            return ExitCode.Success;
                        }
                    }

                    before = now;
                    await Task.Delay(pause, stopping).ConfigureAwait(false);
                }
            }
        });
        return command;
    }

    /// <summary>Draws one view.</summary>
    /// <param name="rates">The rates.</param>
    /// <param name="columns">How wide it may be: columns that tell least are left out until the rest fits, and the first line says so.</param>
    internal static string Draw(JsonNode rates, int columns = int.MaxValue)
    {
        string[][][] tables =
        [
            [
                ["REACTOR", "CPU", "BUSY %", "SLEEP %", "WAKE-UPS/s", "HEALTH"],
                .. Items(rates, "reactors").Select(row => (string[])
                [
                    $"{row["id"]}", $"{row["cpu"]}", Format(Number(row, "busy_percent")), Format(Number(row, "sleep_percent")), Format(Number(row, "wakeups_per_second")), $"{row["health"]}",
                ]),
            ],
            .. ((string[])["controllers", "bdevs"]).Select(key => (string[][])
            [
                [key == "bdevs" ? "BDEV" : "CONTROLLER", "READ/s", "WRITE/s", "MB/s READ", "MB/s WRITE", "READ us", "WRITE us", .. PercentileHeads, "QD", CpuHead, FailedHead],
                .. Items(rates, key).Select(row => (string[])
                [
                    $"{row["name"]}",
                    Format(Number(row, "reads_per_second")),
                    Format(Number(row, "writes_per_second")),
                    Format(Number(row, "read_bytes_per_second") / 1e6),
                    Format(Number(row, "written_bytes_per_second") / 1e6),
                    FormatOptional(row, "read_mean_us"),
                    FormatOptional(row, "write_mean_us"),
                    .. Percentiles.Select(percentile => FormatOptional(row, percentile)),
                    Format(Number(row, "queue_depth")),
                    Format(Number(row, "cpu_percent_estimate")),
                    Format(Number(row, "failed_per_second")),
                ]),
            ]),
        ];
        string[] hidden = [.. tables.SelectMany(table => TopTable.HeadsToHide(table, columns, LeastTelling)).Distinct()];
        var text = new System.Text.StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"vhostd {rates["state"]}{(rates["healthy"]?.GetValue<bool>() == false ? ", NOT HEALTHY: see vhostd health" : "")}, over {Number(rates, "interval_seconds"):0.0} s");
        text.Append(hidden.Length > 0 ? $", {hidden.Length} columns hidden\n" : "\n");
        foreach (string[][] table in tables)
        {
            text.Append('\n');
            TopTable.Append(text, table, hidden);
        }

        return text.ToString();
    }

    private const string CpuHead = "~CPU %";
    private const string FailedHead = "FAILED/s";

    private static readonly string[] Percentiles = ["p50_us", "p99_us", "p999_us"];

    private static readonly string[] PercentileHeads = ["p50 us", "p99 us", "p99.9 us"];

    // In this order; failures and the numbers of requests stay.
    private static readonly string[] LeastTelling = [.. PercentileHeads, CpuHead, "SLEEP %", "WAKE-UPS/s", "QD", "MB/s WRITE", "MB/s READ", "WRITE us", "READ us"];

    private static string Format(double value) => value switch
    {
        >= 1e6 => (value / 1e6).ToString("0.00M", CultureInfo.InvariantCulture),
        >= 1e4 => (value / 1e3).ToString("0.0k", CultureInfo.InvariantCulture),
        >= 100 or 0 => value.ToString("0", CultureInfo.InvariantCulture),
        _ => value.ToString("0.0", CultureInfo.InvariantCulture),
    };

    private static string FormatOptional(JsonNode row, string key) => row[key] is null ? "-" : Format(Number(row, key));

    private static IEnumerable<JsonNode> Items(JsonNode rates, string key) => rates[key]!.AsArray().OfType<JsonNode>();

    private static double Number(JsonNode node, string key) => node[key] is JsonValue value ? value.GetValue<double>() : 0;
}
