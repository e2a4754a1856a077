namespace Vhost.Bench;

/// <content>SPDK's vhost in turn with vhostd, where its program is given. The figures to be ahead of stand as goals: its own, and 1.4 times that for single requests and memory.</content>
internal sealed partial class Comparison
{
    private const double Level = 1;
    private const double Ahead = 1.4;
    private const int FillBlockBytes = 4096; // scsi of SPDK v23.01 does not survive writes of 128 KiB and more

    private void RunSpdk()
    {
        if (_options.Spdk is null || !IsWanted("spdk"))
        {
            return;
        }

        using var vhostd = StartVhostd(new VhostdManifest { CpuMask = Mask }
            .Null("n").Malloc("d", _options.DiskMiB).Malloc("l", _options.DiskMiB).Blk("null", "n").Blk("blk", "d").Scsi("scsi", "l"));
        using var spdk = SpdkServer.Start(_options.Spdk, Path.Combine(_directory, "spdk"), Mask)
            .Null("n", 1024).Malloc("d", _options.DiskMiB).Malloc("l", _options.DiskMiB).Blk("null", "n").Blk("blk", "d").Scsi("scsi", "l");
        spdk.Process.Pause();
        foreach (var (server, socket) in new (ServerProcess Server, Func<string, string> Socket)[] { (vhostd.Process, vhostd.Socket), (spdk.Process, spdk.Socket) })
        {
            server.Resume();
            FillDisk(Huge(1) with { Socket = socket("blk") }, FillBlockBytes);
            FillDisk(Huge(1) with { Socket = socket("scsi"), Device = DeviceKind.Scsi }, FillBlockBytes);
            server.Pause();
        }

        void Case(string name, string controller, double goal, LoadOptions load) => Compare(
            $"beside SPDK: {name}",
            () => Measure(vhostd.Process, () => RunLoad(load with { Socket = vhostd.Socket(controller) })),
            "SPDK",
            () => Measure(spdk.Process, () => RunLoad(load with { Socket = spdk.Socket(controller) })),
            new Goal(GoalKind.RatioAtLeast, goal));

        Case("blk, null, 4 KiB read, QD1", "null", Ahead, Huge(1));
        Case("blk, null, 4 KiB read, QD32", "null", Level, Huge(32));
        Case("blk, null, 4 KiB read, QD64", "null", Level, Huge(64));
        Case("blk, malloc, 4 KiB random read, QD1", "blk", Ahead, Huge(1));
        foreach (var isWrite in new[] { false, true })
        {
            var read = isWrite ? "write" : "read";
            var mix = Huge(32) with { ReadPercent = isWrite ? 0 : 100 };
            Case($"blk, malloc, 4 KiB random {read}, QD32", "blk", Ahead, mix);
            Case($"scsi, malloc, 4 KiB random {read}, QD32", "scsi", Ahead, mix with { Device = DeviceKind.Scsi });
            var sequential = mix with { QueueDepth = 16, BlockSizeBytes = 128 << 10, Pattern = Pattern.Seq };
            Case($"blk, malloc, 128 KiB sequential {read}, QD16", "blk", Level, sequential);
        }
    }

    /// <summary>A load whose memory lies on huge pages, as SPDK wants its guests' memory to.</summary>
    private LoadOptions Huge(int depth) => Load(depth) with { HugePageSizeBytes = 2 << 20 };

    /// <summary>Writes a disk in memory once: one that was never written is one page of zeroes.</summary>
    private void FillDisk(LoadOptions load, int blockBytes) => RunLoad(load with
    {
        Pattern = Pattern.Seq,
        ReadPercent = 0,
        BlockSizeBytes = blockBytes,
        QueueDepth = 4,
        Requests = (((long)_options.DiskMiB << 20) / blockBytes) + 4,
        WarmUpSeconds = 0,
    });
}
