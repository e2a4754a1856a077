using Vhost.Abstractions;
using Vhost.Testing.FrontEnd;

namespace Vhost.Bench;

/// <summary>
/// Runs the table: each case with its reference in alternating runs on the same CPUs, medians of the runs of one class of machine. Control thread only;
/// what is measured runs on threads of its own.
/// </summary>
internal sealed partial class Comparison : IDisposable
{
    private const double PingPongSeconds = 0.02;
    private const double TwoToOne = 1.8;

    private readonly CompareOptions _options;
    private readonly Action<ComparisonRow> _onRow;
    private readonly string _directory;
    private readonly List<ComparisonRow> _rows = [];
    private readonly List<double> _startSeconds = [];
    private int _serverNumber;

    /// <summary>Prepares the table.</summary>
    /// <param name="options">What to use.</param>
    /// <param name="onRow">Called with each line as it is done.</param>
    public Comparison(CompareOptions options, Action<ComparisonRow> onRow)
    {
        _options = options;
        _onRow = onRow;
        _directory = Directory.CreateTempSubdirectory("vhost-compare-").FullName;
    }

    /// <summary>Round trips of a cache line between the two CPUs, as they were met, in nanoseconds.</summary>
    public List<double> RoundTripsNanoseconds { get; } = [];

    /// <summary>Runs all cases.</summary>
    /// <returns>The lines.</returns>
    /// <exception cref="FrontEndException">A server failed.</exception>
    public IReadOnlyList<ComparisonRow> Run()
    {
        RunNull();
        RunMalloc();
        foreach (var (where, directory) in new[] { ("tmpfs", _options.MemoryDirectory), ("a disk", _options.DiskDirectory) })
        {
            RunFile(where, directory);
        }

        RunSpdk();
        RunMetrics();
        RunModes();
        RunIdle();
        RunMemoryTable();
        RunEndless();
        RunReactors();
        RunStart();
        return _rows;
    }

    /// <inheritdoc/>
    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private void RunNull()
    {
        if (!IsWanted("null"))
        {
            return;
        }

        using var vhostd = StartVhostd(new VhostdManifest { CpuMask = Mask }.Null("disk").Blk("blk", "disk"));
        using var peer = StorageDaemon.StartNull(_options.Peer, Path.Combine(_directory, "null-peer"), 1024, _options.ServerCpu);
        peer.Pause();
        foreach (var (depth, limit) in new[] { (1, 5.0), (32, 3.5) })
        {
            var load = Load(depth);
            Compare(
                $"blk, null, 4 KiB read, QD{depth}",
                () => Measure(vhostd.Process, () => RunLoad(load with { Socket = vhostd.Socket("blk") })),
                "peer",
                () => Measure(peer, () => RunLoad(load with { Socket = Path.Combine(_directory, "null-peer") })),
                new Goal(GoalKind.RatioAtLeast, limit, BoundsTail: true));
        }

        Compare("blk, null, 4 KiB read, QD32, packed ring", () => Measure(vhostd.Process, () => RunLoad(Load(32) with { Socket = vhostd.Socket("blk"), Format = VirtqueueFormat.Packed })));
        foreach (var depth in new[] { 1, 32 })
        {
            Compare(
                $"blk, null, 4 KiB read, QD{depth}, client sleeps for interrupts",
                () => Measure(vhostd.Process, () => RunLoad(Load(depth) with { Socket = vhostd.Socket("blk"), UsesInterrupts = true })),
                "peer",
                () => Measure(peer, () => RunLoad(Load(depth) with { Socket = Path.Combine(_directory, "null-peer"), UsesInterrupts = true })));
        }
    }

    private void RunMalloc()
    {
        if (!IsWanted("malloc"))
        {
            return;
        }

        using var vhostd = StartVhostd(new VhostdManifest { CpuMask = Mask }
            .Malloc("disk", _options.DiskMiB).Blk("blk", "disk").Malloc("lun", _options.DiskMiB).Scsi("scsi", "lun"));
        var blk = Load(32) with { Socket = vhostd.Socket("blk") };
        var scsi = Load(32) with { Socket = vhostd.Socket("scsi"), Device = DeviceKind.Scsi };
        vhostd.Process.Resume();
        foreach (var load in new[] { blk, scsi })
        {
            FillDisk(load, 1 << 20);
        }

        vhostd.Process.Pause();
        Sample Run(LoadOptions load) => Measure(vhostd.Process, () => RunLoad(load));
        using (var loop = new CopyLoop((ulong)_options.DiskMiB << 20, 4096))
        {
            Compare("blk, malloc, 4 KiB read, QD1", () => Run(blk with { QueueDepth = 1 }));
            foreach (var isWrite in new[] { false, true })
            {
                Compare(
                    $"blk, malloc, 4 KiB random {(isWrite ? "write" : "read")}, QD32",
                    () => Run(blk with { ReadPercent = isWrite ? 0 : 100 }),
                    "copy loop",
                    () => Measure(null, () => RunCopy(loop, Pattern.Rand, isWrite)),
                    new Goal(GoalKind.RatioAtLeast, 0.8));
            }
        }

        Compare("scsi, malloc, 4 KiB random read, QD32", () => Run(scsi), "blk", () => Run(blk), new Goal(GoalKind.RatioAtLeast, 0.9));
        Compare("scsi, malloc, 4 KiB random write, QD32", () => Run(scsi with { ReadPercent = 0 }), "blk", () => Run(blk with { ReadPercent = 0 }), new Goal(GoalKind.RatioAtLeast, 0.9));
        using (var loop = new CopyLoop((ulong)_options.DiskMiB << 20, 128 << 10))
        {
            foreach (var (name, load) in new[] { ("blk", blk), ("scsi", scsi) })
            {
                foreach (var isWrite in new[] { false, true })
                {
                    Compare(
                        $"{name}, malloc, 128 KiB sequential {(isWrite ? "write" : "read")}, QD16",
                        () => Run(load with { QueueDepth = 16, BlockSizeBytes = 128 << 10, Pattern = Pattern.Seq, ReadPercent = isWrite ? 0 : 100 }),
                        "copy loop",
                        () => Measure(null, () => RunCopy(loop, Pattern.Seq, isWrite)),
                        new Goal(GoalKind.RatioAtLeast, 0.9));
                }
            }
        }
    }

    private void RunFile(string where, string directory)
    {
        if (!IsWanted("file"))
        {
            return;
        }

        var path = Path.Combine(directory, $"vhost-compare-{Environment.ProcessId}.img");
        var socket = Path.Combine(_directory, Path.GetFileName(directory) + "-peer");
        try
        {
            WriteFile(path);
            using var vhostd = StartVhostd(new VhostdManifest { CpuMask = Mask }.File("disk", path).Blk("blk", "disk"));
            using var peer = StorageDaemon.StartFile(_options.Peer, socket, path, _options.ServerCpu);
            peer.Pause();
            foreach (var depth in new[] { 1, 32 })
            {
                Compare(
                    $"blk, file on {where}, 4 KiB read, QD{depth}",
                    () => Measure(vhostd.Process, () => RunLoad(Load(depth) with { Socket = vhostd.Socket("blk") })),
                    "peer",
                    () => Measure(peer, () => RunLoad(Load(depth) with { Socket = socket })),
                    new Goal(GoalKind.RatioAtLeast, 2, BoundsTail: true));
            }

            using var loop = new ReadLoop(path);
            Compare(
                $"blk, file on {where}, 4 KiB read, QD32, of a bare loop of pread",
                () => Measure(vhostd.Process, () => RunLoad(Load(32) with { Socket = vhostd.Socket("blk") })),
                "pread loop",
                () => Measure(null, () => RunBare(() => loop.Run(_options.Seconds))));
        }
        finally
        {
            File.Delete(path);
        }
    }

    private LoadOptions Load(int depth) => new()
    {
        Socket = "",
        QueueDepth = depth,
        Seconds = _options.Seconds,
        WarmUpSeconds = _options.WarmUpSeconds,
        Cpu = _options.ClientCpu,
    };

    private string Mask => FormattableString.Invariant($"0x{1UL << _options.ServerCpu:x}");

    private bool IsWanted(string name) => _options.Only.Count == 0 || _options.Only.Any(word => word.Contains(name, StringComparison.OrdinalIgnoreCase));

    private void WriteFile(string path)
    {
        // Written once: a hole is not a disk.
        using var file = new FileStream(path, FileMode.Create);
        var block = new byte[1 << 20];
        new Random(1).NextBytes(block);
        for (var i = 0; i < _options.DiskMiB; i++)
        {
            file.Write(block);
        }

        file.Flush(flushToDisk: true);
    }

    private VhostdServer StartVhostd(VhostdManifest manifest)
    {
        var server = VhostdServer.Start(_options.Vhostd, Path.Combine(_directory, $"vhostd{_serverNumber++}"), manifest);
        _startSeconds.Add(server.Process.StartTime.TotalSeconds);
        server.Process.Pause();
        return server;
    }
}
