using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.EndToEnd.Tests;

/// <summary>The same harness against a server that others wrote: when these fail, it is the harness and not vhostd.</summary>
public sealed class HarnessTests
{
    [Theory]
    [InlineData("Bookworm")]
    [InlineData("Trixie")]
    public async Task A_guest_uses_the_disk_of_qemu_storage_daemon(string qemu)
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string file = Disk.Create(scenario.FilePath("disk.img"), 64);
            string socket = scenario.FilePath("blk.sock");
            StorageDaemon daemon = await StorageDaemon.StartAsync(scenario, file, socket, queues: 2);
            var options = new GuestVmOptions { Qemu = Enum.Parse<QemuRelease>(qemu), Disks = [VhostUserDevice.Blk(socket, "num-queues=2", reconnect: true)] };
            GuestVm vm = await GuestVm.StartAsync(scenario, options);
            // What GuestBoot goes by: without these lines it would take a boot that uses a disk for one that does not.
            Assert.All(["found virtio-blk", "Booting from", "Run /init as init process"], line => Assert.Contains(line, vm.Diagnose(), StringComparison.Ordinal));
            await vm.WaitForDisksAsync(1);
            Assert.Equal($"{64 << 20}", (await vm.CheckAsync("blockdev --getsize64 /dev/vda")).Trim());
            await vm.CheckAsync(Fio.Verify("/dev/vda", 8));
            await vm.RebootAsync();
            await vm.WaitForDisksAsync(1);
            await vm.CheckAsync("dd if=/dev/urandom of=/dev/vda bs=1M count=4 oflag=direct && sync");
            string before = await vm.CheckAsync("dd if=/dev/vda bs=1M count=4 iflag=direct 2>/dev/null | sha256sum");

            daemon.Kill();
            File.Delete(socket);
            await StorageDaemon.StartAsync(scenario, file, socket, queues: 2);
            Assert.Equal(before, await vm.CheckAsync("dd if=/dev/vda bs=1M count=4 iflag=direct 2>/dev/null | sha256sum"));
        });
    }

    [Fact]
    public async Task A_command_reports_its_exit_code_and_both_outputs()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            GuestVm vm = await GuestVm.StartAsync(scenario, new GuestVmOptions());
            CommandResult failed = await vm.RunAsync("echo out; echo err >&2; exit 3");
            Assert.Equal(new CommandResult(3, "out\nerr\n"), failed);
            Task<string> slow = vm.CheckAsync("sleep 1; echo slow");
            Assert.Equal("fast\n", await vm.CheckAsync("echo fast"));
            Assert.False(slow.IsCompleted);
            Assert.Equal("slow\n", await slow);
            Assert.Equal(200_000, (await vm.CheckAsync("head -c 200000 /dev/zero | tr '\\0' x")).Length);
            await Assert.ThrowsAsync<EndToEndException>(() => vm.RunAsync("sleep 100", TimeSpan.FromMilliseconds(300)));
        });
    }

    [Fact]
    public async Task Libblkio_verifies_qemu_storage_daemon_and_sees_a_wrong_byte()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string file = Disk.Create(scenario.FilePath("disk.img"), 64);
            string socket = scenario.FilePath("blk.sock");
            await StorageDaemon.StartAsync(scenario, file, socket, queues: 2);
            string output = LibblkioClient.Verify(socket, queues: 2, depth: 16, blockBytes: 4096, totalBytes: 64 << 20);
            Assert.Contains("OK", output, StringComparison.Ordinal);

            await using (FileStream disk = File.Open(file, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
            {
                disk.Position = 40 << 20;
                int value = disk.ReadByte();
                disk.Position = 40 << 20;
                disk.WriteByte((byte)(value ^ 1));
            }

            EndToEndException wrong = Assert.Throws<EndToEndException>(() =>
                LibblkioClient.CheckKept(socket, queues: 2, depth: 16, blockBytes: 4096, totalBytes: 64 << 20));
            Assert.Contains($"FAILED byte {40 << 20}", wrong.Message, StringComparison.Ordinal);
        });
    }
}
