using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.EndToEnd.Tests;

/// <summary>One vhostd and one guest (QEMU 7.2) with a scsi controller of four bdevs and three blk disks, shared by the tests of a class.</summary>
public sealed class ServedGuest : IAsyncLifetime
{
    /// <summary>Disks of the guest: four LUNs and three virtio-blk.</summary>
    public const int DiskCount = 7;

    internal Scenario Scenario { get; } = new();

    internal GuestVm Vm { get; private set; } = null!;

    internal VhostdProcess Vhostd { get; private set; } = null!;

    internal string ScsiFile => Scenario.FilePath("scsi.img");

    internal string BlkFile => Scenario.FilePath("blk.img");

    public async ValueTask InitializeAsync()
    {
        string scsi = Scenario.FilePath("scsi.sock");
        string blkMalloc = Scenario.FilePath("blk0.sock");
        string blkFile = Scenario.FilePath("blk1.sock");
        string blkNull = Scenario.FilePath("blk2.sock");
        Disk.Create(ScsiFile, 96);
        Disk.Create(BlkFile, 80);
        var manifest = new ManifestBuilder()
            .Malloc("Malloc512", 64).Malloc("Malloc4096", 72, 4096).Null("NullScsi", 1024).File("FileScsi", ScsiFile)
            .Malloc("MallocBlk", 64).File("FileBlk", BlkFile).Null("NullBlk", 2048, 4096)
            .Scsi("vhost.0", scsi, "Malloc512", "Malloc4096", "NullScsi", "FileScsi")
            .Blk("vhost.1", blkMalloc, "MallocBlk").Blk("vhost.2", blkFile, "FileBlk").Blk("vhost.3", blkNull, "NullBlk");
        await Scenario.WatchAsync(async () =>
        {
            Vhostd = await VhostdProcess.StartAsync(Scenario, manifest.Build());
            Vm = await GuestVm.StartAsync(Scenario, new GuestVmOptions
            {
                Disks =
                [
                    VhostUserDevice.Scsi(scsi, "num_queues=2"), VhostUserDevice.Blk(blkMalloc, "num-queues=2"),
                    VhostUserDevice.Blk(blkFile, "num-queues=2"), VhostUserDevice.Blk(blkNull),
                ],
            });
            await Vm.WaitForDisksAsync(DiskCount);
        });
    }

    public ValueTask DisposeAsync() => Scenario.DisposeAsync();
}
