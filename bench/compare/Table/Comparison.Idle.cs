using System.Diagnostics;
using Vhost.Testing.FrontEnd;

namespace Vhost.Bench;

/// <content>Rest: what idle controllers cost, and how long the first request after it takes.</content>
internal sealed partial class Comparison
{
    private const int FirstRequestRounds = 4;
    private const int SmallGuestBytes = 4 << 20;
    private const int SettleMilliseconds = 500;

    // The longer a CPU of a virtual machine rests, the longer the hypervisor takes to wake it.
    private static readonly int[] RestsMilliseconds = [1, 20];

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

            var settled = WaitUntilCompiled(vhostd.Process);
            var before = vhostd.Process.CpuTime;
            var begin = Stopwatch.GetTimestamp();
            Thread.Sleep(TimeSpan.FromSeconds(_options.IdleSeconds));
            var cpu = (vhostd.Process.CpuTime - before) / Stopwatch.GetElapsedTime(begin);
            Add(new ComparisonRow
            {
                Name = $"idle: CPU with {_options.IdleControllers} connected controllers",
                Unit = "%",
                Value = cpu * 100,
                Goal = new Goal(GoalKind.ValueAtMost, 1),
                Runs = FormattableString.Invariant($"over {_options.IdleSeconds:0} s; compiled for {settled.TotalMilliseconds:0} ms of CPU time before"),
            });
            foreach (var milliseconds in RestsMilliseconds)
            {
                CompareFirstRequests(guests[0].Device, milliseconds);
            }
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

    /// <summary>Waits until the runtime has compiled what connecting made it compile: half a second without a tick of CPU time, or the limit.</summary>
    /// <returns>The CPU time that went by.</returns>
    private TimeSpan WaitUntilCompiled(ServerProcess process)
    {
        var first = process.CpuTime;
        var last = first;
        for (var begin = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(begin).TotalSeconds < _options.SettleSeconds;)
        {
            Thread.Sleep(SettleMilliseconds);
            var now = process.CpuTime;
            if ((now - last).TotalMilliseconds < SettleMilliseconds / 50.0)
            {
                last = now;
                break;
            }

            last = now;
        }

        return last - first;
    }

    /// <summary>Times the first request after a rest, and a bare wake-up in turn with it.</summary>
    private void CompareFirstRequests(FrontEndDevice device, int restMilliseconds)
    {
        var ours = new List<double>();
        var bare = new List<double>();
        var count = Math.Max(1, _options.FirstRequests / FirstRequestRounds);
        for (var round = 0; round < FirstRequestRounds; round++)
        {
            ours.AddRange(OnCpu(_options.ClientCpu, () => TimeFirstRequests(device, restMilliseconds, count)));
            bare.AddRange(WakeUpLoop.Measure(_options.ServerCpu, _options.ClientCpu, restMilliseconds, count));
        }

        Add(new ComparisonRow
        {
            Name = $"idle: first request after {restMilliseconds} ms of rest, median",
            Unit = "us",
            Value = SampleSet.Median([.. ours]),
            TailMicroseconds = ours.Max(),
            Reference = SampleSet.Median([.. bare]),
            ReferenceTailMicroseconds = bare.Max(),
            ReferenceName = "bare eventfd wake-up",
            Goal = new Goal(GoalKind.ValueAtMost, 100),
            Runs = $"{ours.Count}+{bare.Count}; the tails are the greatest",
        });
    }

    private static double[] TimeFirstRequests(FrontEndDevice device, int restMilliseconds, int count)
    {
        var requests = new VirtioBlkRequests(device, 1, 4096);
        var queue = device.RequestQueue(0);
        var latencies = new double[count];
        for (var i = -1; i < latencies.Length; i++)
        {
            Thread.Sleep(restMilliseconds);
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
}
