using System.Diagnostics;
using Vhost.Testing.FrontEnd;

namespace Vhost.Bench;

/// <content>What is not a rate: rest, memory tables, allocation, start.</content>
internal sealed partial class Comparison
{
    private const double LightLoadPerSecond = 1000;
    private const int RestMilliseconds = 20;
    private const int SmallGuestBytes = 4 << 20;

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

    private void RunIdle()
    {
        if (!IsWanted("idle"))
        {
            return;
        }

        var manifest = new VhostdManifest { CpuMask = Mask };
        for (var i = 0; i < _options.IdleControllers; i++)
        {
            manifest.Null($"disk{i}").Blk($"blk{i}", $"disk{i}");
        }

        using var vhostd = StartVhostd(manifest);
        _startSeconds.RemoveAt(_startSeconds.Count - 1); // that of one controller is asked for
        vhostd.Process.Resume();
        var guests = new List<(GuestMemory Memory, FrontEndDevice Device)>();
        try
        {
            foreach (var name in manifest.ControllerNames)
            {
                var memory = new GuestMemory(0, SmallGuestBytes);
                guests.Add((memory, FrontEndDevice.Connect(vhostd.Socket(name), memory, new FrontEndOptions())));
            }

            Thread.Sleep(RestMilliseconds * 10);
            var before = vhostd.Process.CpuTime;
            var begin = Stopwatch.GetTimestamp();
            Thread.Sleep(TimeSpan.FromSeconds(_options.IdleSeconds));
            var cpu = (vhostd.Process.CpuTime - before) / Stopwatch.GetElapsedTime(begin);
            Add(new ComparisonRow { Name = $"idle: CPU with {_options.IdleControllers} connected controllers", Unit = "%", Value = cpu * 100, Goal = new Goal(GoalKind.ValueAtMost, 1) });
            var latencies = OnCpu(_options.ClientCpu, () => TimeFirstRequests(guests[0].Device));
            Array.Sort(latencies);
            Add(new ComparisonRow
            {
                Name = $"idle: first request after {RestMilliseconds} ms of rest, median",
                Unit = "us",
                Value = latencies[latencies.Length / 2],
                TailMicroseconds = latencies[^1],
                Reference = WakeUpLoop.Measure(_options.ServerCpu, _options.ClientCpu, RestMilliseconds, _options.FirstRequests),
                ReferenceName = "bare eventfd wake-up",
                Goal = new Goal(GoalKind.ValueAtMost, 100),
                Runs = $"{latencies.Length}; the tail is the greatest",
            });
        }
        finally
        {
            foreach (var (memory, device) in guests)
            {
                device.Dispose();
                memory.Dispose();
            }
        }
    }

    private double[] TimeFirstRequests(FrontEndDevice device)
    {
        var requests = new VirtioBlkRequests(device, 1, 4096);
        var queue = device.RequestQueue(0);
        var latencies = new double[_options.FirstRequests];
        for (var i = -1; i < latencies.Length; i++)
        {
            Thread.Sleep(RestMilliseconds);
            requests.TryAdd(queue.Ring, 0, isWrite: false, (ulong)(i + 1), 4096);
            var begin = Stopwatch.GetTimestamp();
            queue.Publish();
            while (!queue.Ring.TryGetUsed(out _, out _))
            {
                if (Stopwatch.GetElapsedTime(begin) > TimeSpan.FromSeconds(10))
                {
                    throw new FrontEndException("the first request after a rest was not answered within 10 s");
                }
            }

            if (i >= 0)
            {
                latencies[i] = Stopwatch.GetElapsedTime(begin).TotalMicroseconds;
            }
        }

        return latencies;
    }

    private void RunMemoryTable()
    {
        if (!IsWanted("memory table"))
        {
            return;
        }

        using var vhostd = StartVhostd(new VhostdManifest { CpuMask = Mask }.Null("first").Blk("blk", "first").Null("second").Blk("other", "second"));
        vhostd.Process.Resume();
        var file = Path.Combine(_options.MemoryDirectory, $"vhost-compare-guest-{Environment.ProcessId}");
        var load = Load(1) with { Socket = vhostd.Socket("blk"), Seconds = Math.Max(_options.Seconds, _options.MemoryTables * 0.05) };
        try
        {
            // Sparse: a guest of this size that has touched none of its memory.
            using (var sparse = new FileStream(file, FileMode.CreateNew))
            {
                sparse.SetLength((long)_options.GuestBytes);
            }

            var quiet = RunLoadForResult(load);
            using var memory = new GuestMemory(0, SmallGuestBytes);
            using var device = FrontEndDevice.Connect(vhostd.Socket("other"), memory, new FrontEndOptions());
            memory.AddFile(file, _options.GuestBytes);
            using var generator = new LoadGenerator(load);
            LoadResult? busy = null;
            var thread = new Thread(() => busy = generator.Run());
            thread.Start();
            Thread.Sleep(TimeSpan.FromSeconds(_options.WarmUpSeconds));
            var slowest = TimeSpan.Zero;
            for (var i = 0; i < _options.MemoryTables && thread.IsAlive; i++)
            {
                var begin = Stopwatch.GetTimestamp();
                memory.AnnounceTable(device.Connection);
                slowest = TimeSpan.FromTicks(Math.Max(slowest.Ticks, Stopwatch.GetElapsedTime(begin).Ticks));
                Thread.Sleep(20);
            }

            thread.Join();
            Add(new ComparisonRow
            {
                Name = $"memory table of {_options.GuestBytes >> 30} GiB set {_options.MemoryTables} times on another controller: greatest latency",
                Unit = "us",
                Value = busy!.MaxMicroseconds,
                TailMicroseconds = busy.P999Microseconds,
                Reference = quiet.MaxMicroseconds,
                ReferenceTailMicroseconds = quiet.P999Microseconds,
                ReferenceName = "without",
                Goal = new Goal(GoalKind.ValueAtMost, 1000),
                Runs = FormattableString.Invariant($"a table takes at most {slowest.TotalMilliseconds:0.0} ms"),
            });
        }
        finally
        {
            File.Delete(file);
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
        var result = OnThread(generator.Run);
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
