using System.Text.Json.Nodes;
using Vhost.Host.Bdevs;
using Vhost.Host.Cli;
using Vhost.Host.Observability;
using Vhost.Host.Reactors;
using Vhost.Host.Wiring;

namespace Vhost.Operate.Tests;

/// <summary>What is made of counters.</summary>
public sealed class RatesTests
{
    private static readonly ReactorStatistics NoTurns = new(0, TimeSpan.Zero, TimeSpan.Zero, TimeSpan.Zero, 0, 0, 0, 0, 0, 0, 0);

    [Fact]
    public void Rates_are_differences_by_time()
    {
        var rates = Rates.Between(Report(10, 100, 1, 2), Report(12, 300, 2, 3));
        var row = rates["controllers"]![0]!;
        Assert.Equal(100, row["reads_per_second"]!.GetValue<double>());
        Assert.Equal(409600, row["read_bytes_per_second"]!.GetValue<double>());
        Assert.Equal(5000, row["read_mean_us"]!.GetValue<double>());
        Assert.Equal(0.5, row["queue_depth"]!.GetValue<double>());
        Assert.Null(row["write_mean_us"]);
        Assert.Equal(50, rates["reactors"]![0]!["busy_percent"]!.GetValue<double>());
        Assert.Equal(50, row["cpu_percent_estimate"]!.GetValue<double>());
    }

    [Fact]
    public void A_part_that_was_made_again_begins_at_zero() =>
        Assert.Equal(5, Rates.Between(Report(10, 100, 1, 2), Report(12, 10, 2, 3))["controllers"]![0]!["reads_per_second"]!.GetValue<double>());

    [Fact]
    public void Health_names_each_problem()
    {
        HostStatus Status(ReactorHealth health, BdevPortState state, HostState host = HostState.Running) => new(
            host,
            [new ReactorStatus(0, 3, health, NoTurns)],
            [],
            [new BdevStatus("Malloc0", state, "Malloc0", null, BdevStatistics.None), new BdevStatus("unused", BdevPortState.Absent, null, null, BdevStatistics.None)],
            [new ControllerStatus("vhost.0", "blk", "t", "vhost-user", "/x", "listening", [new Abstractions.BdevReference("bdev", "Malloc0")])]);

        Assert.True(HealthReport.Of(Status(ReactorHealth.Healthy, BdevPortState.Present)).IsHealthy);
        Assert.Contains("plugin 'x'", Assert.Single(HealthReport.Of(Status(new ReactorHealth(ReactorHealthState.Stuck, "plugin 'x'", TimeSpan.FromSeconds(2)), BdevPortState.Present)).Problems), StringComparison.Ordinal);
        Assert.Contains("out of service", Assert.Single(HealthReport.Of(Status(ReactorHealth.Healthy, BdevPortState.Quarantined)).Problems), StringComparison.Ordinal);
        Assert.Contains("Malloc0 is not there", Assert.Single(HealthReport.Of(Status(ReactorHealth.Healthy, BdevPortState.Absent)).Problems), StringComparison.Ordinal);
        Assert.False(HealthReport.Of(Status(ReactorHealth.Healthy, BdevPortState.Present, HostState.Stopping)).IsReady);
    }

    [Fact]
    public void A_narrow_view_leaves_out_what_tells_least_and_says_how_much()
    {
        var rates = Rates.Between(Report(10, 100, 1, 2), Report(12, 300, 2, 3));
        var all = TopCommand.Draw(rates);
        Assert.DoesNotContain("hidden", all, StringComparison.Ordinal);
        Assert.Contains("p99.9 us", all, StringComparison.Ordinal);
        // What has no value goes first, whatever it is, and then in the order of what tells least.
        var some = TopCommand.Draw(rates, 85);
        Assert.Contains("CONTROLLER  READ/s  WRITE/s  MB/s READ  MB/s WRITE  READ us   QD  ~CPU %  FAILED/s\n", some, StringComparison.Ordinal);
        Assert.StartsWith("vhostd running, over 2.0 s, 4 columns hidden\n", some, StringComparison.Ordinal);
        Assert.Contains("CONTROLLER  READ/s  WRITE/s  FAILED/s\n", TopCommand.Draw(rates, 1), StringComparison.Ordinal);

        Assert.Equal(["one", "two"], TopScreen.Fit("one\ntwo\n", 3, 3));
        Assert.Equal(["o>", "... 2 more lines"[..1] + ">"], TopScreen.Fit("one\ntwo\nthree\n", 2, 3));
        Assert.Equal(["one", "... 2 more lines"], TopScreen.Fit("one\ntwo\nthree\n", 80, 3));
        Assert.Equal(["... 3 more lines"], TopScreen.Fit("one\ntwo\nthree\n", 80, 1));
    }

    private static JsonObject Report(double time, int reads, double readSeconds, double busySeconds) => new()
    {
        ["state"] = "running",
        ["time_seconds"] = time,
        ["health"] = new JsonObject { ["healthy"] = true },
        ["reactors"] = new JsonArray(new JsonObject { ["id"] = 0, ["cpu"] = 0, ["health"] = "healthy", ["busy_seconds"] = busySeconds }),
        ["controllers"] = new JsonArray(new JsonObject { ["name"] = "vhost.0", ["reads"] = reads, ["operations"] = reads, ["read_bytes"] = reads * 4096, ["read_seconds"] = readSeconds }),
        ["bdevs"] = new JsonArray(),
    };
}
