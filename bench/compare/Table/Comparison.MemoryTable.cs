using System.Diagnostics;
using Vhost.Testing.FrontEnd;

namespace Vhost.Bench;

/// <content>What a guest's memory table costs the guests beside it.</content>
internal sealed partial class Comparison
{
    private void RunMemoryTable()
    {
        if (!IsWanted("memory table"))
        {
            return;
        }

        using var vhostd = StartVhostd(new VhostdManifest { CpuMask = Mask }.Null("first").Blk("blk", "first").Null("second").Blk("other", "second"));
        vhostd.Process.Resume();

        // Sparse: guests of this size that have touched none of their memory. Two in turn, since a table that changes nothing costs nothing.
        var files = new[] { 0, 1 }.Select(number => Path.Combine(_options.MemoryDirectory, $"vhost-compare-guest-{Environment.ProcessId}-{number}")).ToArray();
        var load = Load(1) with { Socket = vhostd.Socket("blk"), Seconds = Math.Max(_options.Seconds, _options.MemoryTables * 0.05) };
        try
        {
            using var memory = new GuestMemory(0, SmallGuestBytes);
            using var device = FrontEndDevice.Connect(vhostd.Socket("other"), memory, new FrontEndOptions());
            foreach (var file in files)
            {
                using var sparse = new FileStream(file, FileMode.CreateNew);
                sparse.SetLength((long)_options.GuestBytes);
            }

            // What is compiled first in the client is not the server's latency.
            RunLoad(load);
            var (quiet, quietRest, _) = RunWithTables(vhostd, load, static () => { }, 0);
            var number = 0;
            var collections = (Server: ProcessFigures.Of(vhostd.GetStatus()).Collections, Client: GC.CollectionCount(0));
            var (busy, busyRest, times) = RunWithTables(
                vhostd,
                load,
                () =>
                {
                    var guest = memory.AddFile(files[number++ % files.Length], _options.GuestBytes);
                    memory.AnnounceTable(device.Connection);
                    memory.Remove(guest);
                },
                _options.MemoryTables);
            collections = (ProcessFigures.Of(vhostd.GetStatus()).Collections - collections.Server, GC.CollectionCount(0) - collections.Client);
            var name = $"memory table of {_options.GuestBytes >> 30} GiB set {_options.MemoryTables} times on another controller: greatest latency";
            Add(new ComparisonRow
            {
                Name = name,
                Unit = "us",
                Value = busy.MaxMicroseconds,
                TailMicroseconds = busy.P999Microseconds,
                Reference = quiet.MaxMicroseconds,
                ReferenceTailMicroseconds = quiet.P999Microseconds,
                ReferenceName = "without",
                Goal = new Goal(GoalKind.ValueAtMost, 1000),
                Runs = FormattableString.Invariant($"a table takes {SampleSet.Median(times):0.0} ms in the median, at most {times.Max():0.0} ms"),
            });
            Add(new ComparisonRow
            {
                Name = $"{name}, less what reactor and client waited for a CPU",
                Unit = "us",
                Value = busyRest,
                Reference = quietRest,
                ReferenceName = "without",
                Runs = $"{collections.Server} garbage collections of vhostd and {collections.Client} of the client meanwhile",
            });
        }
        finally
        {
            foreach (var file in files)
            {
                File.Delete(file);
            }
        }
    }

    /// <summary>Runs a load while something is done now and then on this thread.</summary>
    /// <returns>The load's result, its greatest latency without the waits for a CPU in microseconds, and how long each of the things took in milliseconds.</returns>
    private (LoadResult Result, double GreatestWithoutWaitsMicroseconds, double[] Milliseconds) RunWithTables(VhostdServer vhostd, LoadOptions load, Action act, int times)
    {
        using var waits = new SchedulerWaits(vhostd.Process.Id, "reactor_0");
        using var generator = new LoadGenerator(load with { Observer = waits });
        var running = OwnThread.Start(generator.Run);
        var milliseconds = new List<double>();
        try
        {
            Thread.Sleep(TimeSpan.FromSeconds(_options.WarmUpSeconds));
            for (var i = 0; i < times && !running.IsCompleted; i++)
            {
                var begin = Stopwatch.GetTimestamp();
                act();
                milliseconds.Add(Stopwatch.GetElapsedTime(begin).TotalMilliseconds);
                Thread.Sleep(20);
            }
        }
        finally
        {
            // The load has the generator's memory until it ends, whatever happened here.
            ((IAsyncResult)running).AsyncWaitHandle.WaitOne();
        }

        return (running.GetAwaiter().GetResult(), waits.GreatestWithoutWaitsMicroseconds, [.. milliseconds]);
    }
}
