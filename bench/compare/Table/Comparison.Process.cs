using System.Diagnostics;

namespace Vhost.Bench;

/// <content>Modes at a light load, allocation, start.</content>
internal sealed partial class Comparison
{
    private const double LightLoadPerSecond = 1000;

    private void RunModes()
    {
        if (!IsWanted("modes"))
        {
            return;
        }

        foreach (var mode in new[] { "poll", "adaptive", "interrupt" })
        {
            using var vhostd = StartVhostd(new VhostdManifest { CpuMask = Mask, Mode = mode }.Null("disk").Blk("blk", "disk"));
            foreach (var depth in new[] { 1, 32 })
            {
                Compare($"mode {mode}: blk, null, 4 KiB read, QD{depth}", () => Measure(vhostd.Process, () => RunLoad(Load(depth) with { Socket = vhostd.Socket("blk") })));
            }

            vhostd.Process.Resume();
            var before = vhostd.Process.CpuTime;
            var begin = Stopwatch.GetTimestamp();
            var result = RunLoadForResult(Load(1) with { Socket = vhostd.Socket("blk"), RatePerSecond = LightLoadPerSecond, Seconds = Math.Max(_options.Seconds, _options.IdleSeconds / 4), WarmUpSeconds = 0 });
            var cpu = (vhostd.Process.CpuTime - before) / Stopwatch.GetElapsedTime(begin);
            Add(new ComparisonRow { Name = $"mode {mode}: latency at {LightLoadPerSecond:0} requests a second, median", Unit = "us", Value = result.P50Microseconds, TailMicroseconds = result.P999Microseconds });
            Add(new ComparisonRow { Name = $"mode {mode}: CPU at that load", Unit = "%", Value = cpu * 100 });
        }
    }

    private void RunEndless()
    {
        if (!IsWanted("endless"))
        {
            return;
        }

        using var vhostd = StartVhostd(new VhostdManifest { CpuMask = Mask }.Null("disk").Blk("blk", "disk"));
        vhostd.Process.Resume();
        var load = Load(32) with { Socket = vhostd.Socket("blk") };

        // What is made once a process is made by the first guest.
        RunLoad(load);
        using var generator = new LoadGenerator(load with { Requests = _options.EndlessRequests });
        var before = ProcessFigures.Of(vhostd.GetStatus());
        var result = OwnThread.Run(generator.Run);
        var after = ProcessFigures.Of(vhostd.GetStatus());
        var count = FormattableString.Invariant($"{result.Requests / 1e6:0.##} M requests");
        Add(new ComparisonRow { Name = $"endless: bytes allocated on the reactor in {count}", Unit = "bytes", Value = after.AllocatedBytes - before.AllocatedBytes, Goal = new Goal(GoalKind.ValueAtMost, 0) });
        Add(new ComparisonRow { Name = $"endless: garbage collections in {count}", Unit = "collections", Value = after.Collections - before.Collections, Goal = new Goal(GoalKind.ValueAtMost, 0) });
        Add(new ComparisonRow { Name = $"endless: rate over {count}", Unit = "k/s", Value = result.Iops / 1e3, TailMicroseconds = result.P999Microseconds });
        Add(new ComparisonRow { Name = "resident memory with one null disk, after that load", Unit = "MiB", Value = vhostd.Process.ResidentBytes / (double)(1 << 20), Goal = new Goal(GoalKind.ValueAtMost, 80) });
    }

    private void RunStart()
    {
        while (_startSeconds.Count < _options.Rounds)
        {
            StartVhostd(new VhostdManifest { CpuMask = Mask }.Null("disk").Blk("blk", "disk")).Dispose();
        }

        Add(new ComparisonRow { Name = "start of the process to serving", Unit = "s", Value = SampleSet.Median([.. _startSeconds]), Goal = new Goal(GoalKind.ValueAtMost, 0.5), Runs = $"{_startSeconds.Count}" });
    }
}
