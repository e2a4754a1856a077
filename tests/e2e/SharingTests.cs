using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.EndToEnd.Tests;

/// <summary>Several guests, several disks.</summary>
public sealed class SharingTests
{
    [Fact]
    public async Task Two_guests_share_one_scsi_bdev()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string[] sockets = [scenario.FilePath("a.sock"), scenario.FilePath("b.sock")];
            var manifest = new ManifestBuilder()
                .Malloc("Malloc0", 64).Shared("Malloc0")
                .Scsi("vhost.0", sockets[0], "Malloc0").Scsi("vhost.1", sockets[1], "Malloc0");
            await VhostdProcess.StartAsync(scenario, manifest.Build());
            GuestVm a = await GuestVm.StartAsync(scenario, new GuestVmOptions { Disks = [VhostUserDevice.Scsi(sockets[0])] }, "guest-a");
            GuestVm b = await GuestVm.StartAsync(scenario, new GuestVmOptions { Disks = [VhostUserDevice.Scsi(sockets[1])] }, "guest-b");
            await a.WaitForDisksAsync(1);
            await b.WaitForDisksAsync(1);
            Assert.Equal(await GuestChecks.FillAsync(a, "/dev/sda", 4), await GuestChecks.Sha256Async(b, "/dev/sda", 4));
            Assert.Equal(await GuestChecks.FillAsync(b, "/dev/sda", 4), await GuestChecks.Sha256Async(a, "/dev/sda", 4));
            await Task.WhenAll(
                a.CheckAsync(Fio.Verify("/dev/sda", 8, more: "--offset=8M")),
                b.CheckAsync(Fio.Verify("/dev/sda", 8, more: "--offset=32M")));
        });
    }

    [Fact]
    public async Task One_guest_fences_the_other_by_a_persistent_reservation()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string[] sockets = [scenario.FilePath("a.sock"), scenario.FilePath("b.sock")];
            var manifest = new ManifestBuilder()
                .Malloc("Malloc0", 64).Shared("Malloc0")
                .Scsi("vhost.0", sockets[0], "Malloc0").Scsi("vhost.1", sockets[1], "Malloc0");
            await VhostdProcess.StartAsync(scenario, manifest.Build());
            GuestVm a = await GuestVm.StartAsync(scenario, new GuestVmOptions { Disks = [VhostUserDevice.Scsi(sockets[0])] }, "guest-a");
            GuestVm b = await GuestVm.StartAsync(scenario, new GuestVmOptions { Disks = [VhostUserDevice.Scsi(sockets[1])] }, "guest-b");
            await a.WaitForDisksAsync(1);
            await b.WaitForDisksAsync(1);
            const string Write = "dd if=/dev/urandom of=/dev/sda bs=4096 count=1 oflag=direct";
            const string Read = "dd if=/dev/sda of=/dev/null bs=4096 count=1 iflag=direct";

            await a.CheckAsync("sg_persist --out --register --param-sark=0xa /dev/sda && sg_persist --out --reserve --param-rk=0xa --prout-type=5 /dev/sda");
            await a.CheckAsync(Write);
            await b.CheckAsync(Read);
            Assert.NotEqual(0, (await b.RunAsync(Write)).ExitCode);

            // Registrants may write; then the second guest takes the disk for itself.
            await b.CheckAsync("sg_persist --out --register --param-sark=0xb /dev/sda");
            await b.CheckAsync(Write);
            await b.CheckAsync("sg_persist --out --preempt-abort --param-rk=0xb --param-sark=0xa --prout-type=5 /dev/sda");
            await b.CheckAsync(Write);
            Assert.NotEqual(0, (await a.RunAsync(Write)).ExitCode);
            Assert.NotEqual(0, (await a.RunAsync("sg_persist --out --release --param-rk=0xa --prout-type=5 /dev/sda")).ExitCode);
            Assert.Contains("0xb", await a.CheckAsync("sg_persist --in --read-reservation /dev/sda"), StringComparison.Ordinal);
            await b.CheckAsync("sg_persist --out --clear --param-rk=0xb /dev/sda");
            await a.CheckAsync(Write);
        });
    }

    [Fact]
    public async Task A_guest_finds_all_256_targets_of_a_controller()
    {
        const int Targets = 256;
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string socket = scenario.FilePath("scsi.sock");
            string[] names = [.. Enumerable.Range(0, Targets).Select(i => $"Null{i}")];
            var manifest = new ManifestBuilder();
            for (int i = 0; i < Targets; i++)
            {
                manifest.Null(names[i], 16 + i);
            }

            await VhostdProcess.StartAsync(scenario, manifest.Scsi("vhost.0", socket, names).Build());
            GuestVm vm = await GuestVm.StartAsync(scenario, new GuestVmOptions { Disks = [VhostUserDevice.Scsi(socket)] });
            await vm.WaitForDisksAsync(Targets, TimeSpan.FromSeconds(90));
            IReadOnlyDictionary<int, string> byTarget = await GuestChecks.ScsiDisksAsync(vm);
            Assert.Equal(Enumerable.Range(0, Targets), byTarget.Keys.Order());
            var sizes = (await GuestChecks.DisksAsync(vm)).ToDictionary(d => $"/dev/{d.Name}", d => d.Bytes);
            Assert.All(byTarget, t => Assert.Equal((16L + t.Key) << 20, sizes[t.Value]));
        });
    }
}
