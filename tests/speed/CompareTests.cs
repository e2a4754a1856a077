using System.Xml.Linq;
using Vhost.Bench;

namespace Vhost.Speed.Tests;

/// <summary>The comparison with tiny inputs: every line of the table comes out, and nothing in it is asserted but that it is a figure.</summary>
public sealed class CompareTests
{
    private static readonly string[] Judged =
    [
        "blk, null, 4 KiB read, QD1", "blk, null, 4 KiB read, QD32", "blk, malloc, 4 KiB random read, QD32", "blk, malloc, 4 KiB random write, QD32",
        "scsi, malloc, 4 KiB random read, QD32", "scsi, malloc, 4 KiB random write, QD32",
        "blk, malloc, 128 KiB sequential read, QD16", "blk, malloc, 128 KiB sequential write, QD16",
        "scsi, malloc, 128 KiB sequential read, QD16", "scsi, malloc, 128 KiB sequential write, QD16",
        "blk, file on tmpfs, 4 KiB read, QD1", "blk, file on tmpfs, 4 KiB read, QD32", "blk, file on a disk, 4 KiB read, QD1", "blk, file on a disk, 4 KiB read, QD32",
        "metrics: blk, null, 4 KiB read, QD32, on and not scraped", "metrics: what a scrape every 15 s costs of the rate, by that",
        "idle: CPU with 4 connected controllers", "idle: first request after 1 ms of rest, median", "idle: first request after 20 ms of rest, median",
        "memory table of 2 GiB set 2 times on another controller: greatest latency",
        "endless: bytes allocated on the reactor in 0.02 M requests", "endless: garbage collections in 0.02 M requests",
        "resident memory with one null disk, after that load", "start of the process to serving",
    ];

    [Fact]
    public void The_whole_table_comes_out()
    {
        var options = new CompareOptions
        {
            Vhostd = PublishedParts.Vhostd,
            Peer = PublishedParts.StorageDaemon,
            Rounds = 1,
            Seconds = 0.05,
            WarmUpSeconds = 0.02,
            DiskMiB = 16,
            EndlessRequests = 20_000,
            IdleControllers = 4,
            IdleSeconds = 0.2,
            SettleSeconds = 0.5,
            MetricsPairsPerRound = 1,
            WarmUpScrapes = 3,
            FirstRequests = 5,
            GuestBytes = 2UL << 30,
            MemoryTables = 2,
        };
        var announced = new List<ComparisonRow>();
        using var comparison = new Comparison(options, announced.Add);
        var rows = comparison.Run();
        Assert.Equal(announced, rows);
        Assert.All(rows, row => Assert.True(double.IsFinite(row.Value) && row.Value >= 0, row.Name));
        Assert.All(Judged, name => Assert.NotNull(Assert.Single(rows, row => row.Name == name).IsMet));
        Assert.NotEmpty(comparison.RoundTripsNanoseconds);

        var section = MarkdownReport.Section(rows, "bench/compare.sh", "a machine", comparison.RoundTripsNanoseconds);
        Assert.All(rows, row => Assert.Contains($"| {row.Name} | ", section, StringComparison.Ordinal));
        var picture = XDocument.Parse(SvgChart.Draw(rows, "a title"));
        Assert.Equal(1 + rows.Count(row => row.IsMet is not null), picture.Descendants().Count(element => element.Name.LocalName == "rect"));
    }

    [Theory]
    [InlineData(100, 50, 2, true, 5.0, 6.0, true)]
    [InlineData(99, 50, 2, true, 5.0, 6.0, false)]
    [InlineData(100, 50, 2, true, 7.0, 6.0, false)]
    [InlineData(100, 50, 2, false, 7.0, 6.0, true)]
    public void A_ratio_is_judged_with_its_tail(double value, double reference, double limit, bool boundsTail, double tail, double referenceTail, bool isMet) =>
        Assert.Equal(isMet, Row(value, reference, tail, referenceTail, new Goal(GoalKind.RatioAtLeast, limit, boundsTail)).IsMet);

    [Fact]
    public void A_value_is_judged_by_its_bound_and_a_line_without_a_goal_by_nothing()
    {
        Assert.True(Row(0, null, null, null, new Goal(GoalKind.ValueAtMost, 0)).IsMet);
        Assert.False(Row(1, null, null, null, new Goal(GoalKind.ValueAtMost, 0)).IsMet);
        Assert.Null(Row(1, 2, null, null, default).IsMet);
    }

    [Fact]
    public void Only_runs_of_one_class_are_counted()
    {
        var samples = new SampleSet();
        samples.Add(new Sample(10, 1, MachineClass.TwoCores));
        samples.Add(new Sample(90, 3, MachineClass.OneCore));
        samples.Add(new Sample(30, 2, MachineClass.TwoCores));
        samples.Add(new Sample(1000, 9, null));
        Assert.Equal(20, samples.Median(MachineClass.TwoCores));
        Assert.Equal(1.5, samples.MedianTail(MachineClass.TwoCores));
        Assert.Equal(2, samples.Count(MachineClass.TwoCores));
        Assert.Equal(60, samples.Median(null));
    }

    private static ComparisonRow Row(double value, double? reference, double? tail, double? referenceTail, Goal goal) => new()
    {
        Name = "a case", Unit = "k/s", Value = value, Reference = reference, TailMicroseconds = tail, ReferenceTailMicroseconds = referenceTail, Goal = goal,
    };
}
