using System.Text.Json.Nodes;

namespace Vhost.Crash.Tests;

/// <summary>Linux guests on QEMU whose vhostd is killed, replaced, or left for another one while they write.</summary>
public sealed class VmTests
{
    private const int Kills = 4;

    /// <summary>Disks of one guest each: blk on QEMU 7.2, scsi on QEMU 11.1, split and packed rings. Another build of vhostd takes over each time.</summary>
    [Theory]
    [InlineData("Bookworm")]
    [InlineData("Trixie")]
    public async Task A_guest_that_writes_notices_no_kill_of_vhostd_and_no_other_build(string qemu)
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            bool isNew = qemu == "Trixie";
            var builder = new ManifestBuilder();
            var devices = new List<VhostUserDevice>();
            foreach (string packed in (string[])["off", "on"])
            {
                string name = $"vhost.{packed}";
                string socket = scenario.FilePath($"{packed}.sock");
                builder.File($"File-{packed}", Disk.Create(scenario.FilePath($"{packed}.img"), 32));
                _ = isNew ? builder.Scsi(name, socket, $"File-{packed}") : builder.Blk(name, socket, $"File-{packed}");
                devices.Add(isNew ? VhostUserDevice.Scsi(socket, $"packed={packed}", reconnect: true) : VhostUserDevice.Blk(socket, $"packed={packed}", reconnect: true));
            }

            JsonObject manifest = builder.Build();
            VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, manifest);
            GuestVm vm = await GuestVm.StartAsync(scenario, new GuestVmOptions { Qemu = Enum.Parse<QemuRelease>(qemu), Disks = devices });
            await vm.WaitForDisksAsync(2);
            string[] disks = isNew ? ["/dev/sda", "/dev/sdb"] : ["/dev/vda", "/dev/vdb"];
            foreach (string disk in disks)
            {
                await FioLoad.StartAsync(vm, disk);
            }

            for (int kill = 0; kill < Kills; kill++)
            {
                await FioLoad.WaitForWritesAsync(vm, disks, 200);
                vhostd.Kill();
                vhostd = await VhostdProcess.StartAsync(scenario, kill % 2 == 0 ? TestEnvironment.NextVhostdDirectory : TestEnvironment.VhostdDirectory, manifest);
            }

            await FioLoad.EndAsync(vm, disks);

            // The kernel has seen neither an error nor a command that it had to give up.
            string messages = await vm.CheckAsync("dmesg");
            Assert.DoesNotContain("I/O error", messages, StringComparison.Ordinal);
            TestContext.Current.TestOutputHelper!.WriteLine($"{Kills} kills, writes per disk: {string.Join(", ", await FioLoad.WrittenAsync(vm, disks))}");
        });
    }

    [Theory]
    [InlineData("blk", "Trixie")]
    [InlineData("scsi", "Trixie")]
    [InlineData("blk", "Bookworm")]
    public async Task A_guest_that_writes_migrates_to_another_vhostd_and_back(string type, string qemu)
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string disk = type == "blk" ? "/dev/vda" : "/dev/sda";
            string image = Disk.Create(scenario.FilePath("disk.img"), 32);
            GuestVm? vm = null;
            for (int station = 0; station < 3; station++)
            {
                // Two hosts: the third station is the first one again, started anew.
                string socket = scenario.FilePath($"{station}.sock");
                var builder = new ManifestBuilder().Bdev("File0", "file", new() { ["path"] = image, ["migration"] = true });
                VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, (type == "blk" ? builder.Blk("vhost.0", socket, "File0") : builder.Scsi("vhost.0", socket, "File0")).Build());
                var options = new GuestVmOptions
                {
                    Qemu = Enum.Parse<QemuRelease>(qemu),
                    Disks = [type == "blk" ? VhostUserDevice.Blk(socket) : VhostUserDevice.Scsi(socket)],
                };
                if (vm is null)
                {
                    vm = await GuestVm.StartAsync(scenario, options);
                    await vm.WaitForDisksAsync(1);
                    await FioLoad.StartAsync(vm, disk);
                }
                else
                {
                    await FioLoad.WaitForWritesAsync(vm, [disk], 100);
                    string uri = $"unix:{scenario.FilePath($"{station}.migration")}";
                    GuestVm next = await GuestVm.StartIncomingAsync(scenario, options, $"station{station}", uri);
                    await vm.MigrateAsync(uri, TimeSpan.FromSeconds(180));
                    vm.Kill();
                    vm = next;
                    await FioLoad.WaitForWritesAsync(vm, [disk], 100);
                }
            }

            await FioLoad.EndAsync(vm!, [disk]);
            Assert.DoesNotContain("I/O error", await vm!.CheckAsync("dmesg"), StringComparison.Ordinal);
        });
    }
}
