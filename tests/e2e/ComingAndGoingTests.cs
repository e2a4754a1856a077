using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.EndToEnd.Tests;

/// <summary>Guests that die and servers that restart.</summary>
public sealed class ComingAndGoingTests
{
    [Fact]
    public async Task After_a_guest_was_killed_mid_write_the_next_one_is_served()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string scsi = scenario.FilePath("scsi.sock");
            string blk = scenario.FilePath("blk.sock");
            var manifest = new ManifestBuilder()
                .Malloc("Malloc0", 64).File("File0", Disk.Create(scenario.FilePath("disk.img"), 64))
                .Scsi("vhost.0", scsi, "Malloc0").Blk("vhost.1", blk, "File0");
            await VhostdProcess.StartAsync(scenario, manifest.Build());
            var options = new GuestVmOptions { Disks = [VhostUserDevice.Scsi(scsi), VhostUserDevice.Blk(blk)] };
            GuestVm first = await GuestVm.StartAsync(scenario, options, "first");
            await first.WaitForDisksAsync(2);
            // The second half keeps its data; the first is being written when the guest dies.
            string kept = await GuestChecks.FillAsync(first, "/dev/vda", 8);
            Task[] writes = [.. ((string[])["/dev/sda", "/dev/vda"]).Select(d => first.RunAsync(Fio.VerifyFor(d, 600, 16, "--offset=32M"), TimeSpan.FromSeconds(600)))];
            await Deadline.UntilAsync("both disks are written", TimeSpan.FromSeconds(120), async () =>
                (await first.CheckAsync("cat /sys/block/sda/stat /sys/block/vda/stat")).Split('\n', StringSplitOptions.RemoveEmptyEntries)
                    .All(l => int.Parse(l.Split(' ', StringSplitOptions.RemoveEmptyEntries)[4], System.Globalization.CultureInfo.InvariantCulture) > 100));
            first.Kill();
            foreach (Task write in writes)
            {
                await Assert.ThrowsAsync<EndToEndException>(() => write);
            }

            GuestVm second = await GuestVm.StartAsync(scenario, options, "second");
            await second.WaitForDisksAsync(2);
            Assert.Equal(kept, await GuestChecks.Sha256Async(second, "/dev/vda", 8));
            await second.CheckAsync(Fio.Verify("/dev/sda", 8));
            await second.CheckAsync(Fio.Verify("/dev/vda", 8));
        });
    }

    // QEMU connects again to blk from long ago, to scsi only from 8.2.
    [Theory]
    [InlineData("blk", "Bookworm", false)]
    [InlineData("blk", "Bookworm", true)]
    [InlineData("blk", "Trixie", false)]
    [InlineData("scsi", "Trixie", false)]
    [InlineData("scsi", "Trixie", true)]
    public async Task A_running_guest_gets_its_data_from_a_vhostd_that_was_started_again(string type, string qemu, bool killed)
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string socket = scenario.FilePath("vhost.sock");
            var builder = new ManifestBuilder().File("File0", Disk.Create(scenario.FilePath("disk.img"), 64));
            var manifest = (type == "blk" ? builder.Blk("vhost.0", socket, "File0") : builder.Scsi("vhost.0", socket, "File0")).Build();
            string disk = type == "blk" ? "/dev/vda" : "/dev/sda";
            VhostdProcess first = await VhostdProcess.StartAsync(scenario, manifest);
            GuestVm vm = await GuestVm.StartAsync(scenario, new GuestVmOptions
            {
                Qemu = Enum.Parse<QemuRelease>(qemu),
                Disks = [type == "blk" ? VhostUserDevice.Blk(socket, reconnect: true) : VhostUserDevice.Scsi(socket, reconnect: true)],
            });
            await vm.WaitForDisksAsync(1);
            string written = await GuestChecks.FillAsync(vm, disk, 8);
            if (killed)
            {
                first.Kill();
            }
            else
            {
                Assert.Equal(0, first.Stop(TimeSpan.FromSeconds(5)));
                Assert.False(File.Exists(socket));
            }

            // A request that comes while nobody serves waits for the next vhostd.
            Task<string> waiting = vm.CheckAsync(Fio.Verify(disk, 4, more: "--offset=32M"));
            await VhostdProcess.StartAsync(scenario, manifest);
            await waiting;
            Assert.Equal(written, await GuestChecks.Sha256Async(vm, disk, 8));
        });
    }

    [Fact]
    public async Task Fio_goes_on_over_a_restart_of_vhostd()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string socket = scenario.FilePath("blk.sock");
            var manifest = new ManifestBuilder().File("File0", Disk.Create(scenario.FilePath("disk.img"), 64)).Blk("vhost.0", socket, "File0").Build();
            VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, manifest);
            GuestVm vm = await GuestVm.StartAsync(scenario, new GuestVmOptions { Disks = [VhostUserDevice.Blk(socket, reconnect: true)] });
            await vm.WaitForDisksAsync(1);
            Task<string> load = vm.CheckAsync(Fio.VerifyFor("/dev/vda", 8, 16));
            for (int i = 0; i < 2; i++)
            {
                await Task.Delay(TimeSpan.FromSeconds(2), TestContext.Current.CancellationToken);
                Assert.Equal(0, vhostd.Stop(TimeSpan.FromSeconds(5)));
                vhostd = await VhostdProcess.StartAsync(scenario, manifest);
            }

            await load;
        });
    }
}
