using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.EndToEnd.Tests;

/// <summary>A disk that grows under a running guest.</summary>
public sealed class ResizeTests
{
    [Fact]
    public async Task A_guest_sees_its_disks_grow_and_uses_the_new_part()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string scsi = scenario.FilePath("scsi.sock");
            string blk = scenario.FilePath("blk.sock");
            string[] files = [Disk.Create(scenario.FilePath("scsi.img"), 32), Disk.Create(scenario.FilePath("blk.img"), 32)];
            var manifest = new ManifestBuilder()
                .File("FileScsi", files[0]).File("FileBlk", files[1])
                .Scsi("vhost.0", scsi, "FileScsi").Blk("vhost.1", blk, "FileBlk");
            await VhostdProcess.StartAsync(scenario, manifest.Build());
            GuestVm vm = await GuestVm.StartAsync(scenario, new GuestVmOptions { Disks = [VhostUserDevice.Scsi(scsi), VhostUserDevice.Blk(blk)] });
            await vm.WaitForDisksAsync(2);
            string[] before = [await GuestChecks.FillAsync(vm, "/dev/sda", 4), await GuestChecks.FillAsync(vm, "/dev/vda", 4)];
            foreach (string file in files)
            {
                await using FileStream image = File.Open(file, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
                image.SetLength(48 << 20);
            }

            // Nobody asks the guest to look again: it is told.
            await Deadline.UntilAsync("both disks of the guest have 48 MiB", TimeSpan.FromSeconds(120), async () =>
                (await GuestChecks.DisksAsync(vm)).All(d => d.Bytes == 48 << 20));
            foreach (string disk in (string[])["/dev/sda", "/dev/vda"])
            {
                await vm.CheckAsync(Fio.Verify(disk, 8, more: "--offset=36M"));
            }

            string[] after = [await GuestChecks.Sha256Async(vm, "/dev/sda", 4), await GuestChecks.Sha256Async(vm, "/dev/vda", 4)];
            Assert.Equal(before, after);
        });
    }
}
