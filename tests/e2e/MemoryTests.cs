using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.EndToEnd.Tests;

/// <summary>Guest memory that comes and goes while requests run.</summary>
public sealed class MemoryTests
{
    [Theory]
    [InlineData("Bookworm")]
    [InlineData("Trixie")]
    public async Task Memory_is_plugged_in_and_out_while_fio_verifies(string qemu)
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string scsi = scenario.FilePath("scsi.sock");
            string blk = scenario.FilePath("blk.sock");
            var manifest = new ManifestBuilder()
                .Malloc("Malloc0", 64).Malloc("Malloc1", 64)
                .Scsi("vhost.0", scsi, "Malloc0").Blk("vhost.1", blk, "Malloc1");
            await VhostdProcess.StartAsync(scenario, manifest.Build());
            GuestVm vm = await GuestVm.StartAsync(scenario, new GuestVmOptions
            {
                Qemu = Enum.Parse<QemuRelease>(qemu),
                HotplugMemoryMiB = 512,
                Disks = [VhostUserDevice.Scsi(scsi), VhostUserDevice.Blk(blk)],
            });
            await vm.WaitForDisksAsync(2);
            await HotplugCheck.RunAsync(vm, ["/dev/sda", "/dev/vda"]);
        });
    }
}
