using System.Diagnostics;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.VvuTopology.Tests;

/// <summary>
/// Two virtual machines: vhostd in the Appliance VM (QEMU 11.1), behind vvu devices that vvu-device serves, gives disks to the Compute VM (QEMU 7.2 and 11.1). An emulated
/// boot is the dearest thing here, so each test does many things in one appliance, in steps.
/// </summary>
public sealed class TopologyTests
{
    private const int IdleSeconds = 10;
    private static readonly string[] Images = ["VirtioScsi0t0", "NVMe1n1", "NVMe1n2"];

    [Fact]
    public async Task Disks_by_vfio_behind_an_iommu_survive_deaths_and_restarts_on_either_side_and_nvme_is_never_copied()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            var steps = new Steps();
            await VvuDevices.StartAsync(scenario);
            ApplianceVm appliance = await ApplianceVm.StartAsync(scenario, hasIommu: true);
            await appliance.StartVhostdAsync();
            steps.Done("the appliance serves");

            GuestVm first = await ComputeVm.StartAsync(scenario, QemuRelease.Bookworm, "compute on 7.2");
            IReadOnlyList<string> luns = await ComputeVm.ScsiDisksAsync(first);
            steps.Done("the Compute VM on QEMU 7.2 sees the page's disks");
            foreach (string disk in (string[])[.. luns, ComputeVm.Blk])
            {
                await ComputeVm.VerifyAsync(first, disk);
                await ComputeVm.MakeFilesAsync(first, disk);
                await ComputeVm.CheckFilesAsync(first, disk);
            }

            Assert.Equal(0, await appliance.CopiedCommandsAsync("NVMe1n1"));
            Assert.NotEqual(0, await appliance.CopiedCommandsAsync("VirtioScsi0t0"));
            steps.Done("fio and ext4 are right on each; NVMe was not copied");

            await KillWhileItWritesAsync(first, [.. luns, ComputeVm.Blk]);
            GuestVm second = await ComputeVm.StartAsync(scenario, QemuRelease.Trixie, "compute on 11.1");
            luns = await ComputeVm.ScsiDisksAsync(second);
            foreach (string disk in (string[])[.. luns, ComputeVm.Blk])
            {
                await ComputeVm.CheckFilesAsync(second, disk);
            }

            steps.Done("killed while it wrote, and served again on QEMU 11.1");

            // Malloc0 is memory of vhostd, and new with it.
            await RestartVhostdWhileItWritesAsync(appliance, second, [luns[0], luns[1], ComputeVm.Blk]);
            foreach (string disk in (string[])[luns[0], luns[1], ComputeVm.Blk])
            {
                await ComputeVm.CheckFilesAsync(second, disk);
            }

            steps.Done("vhostd restarted while it wrote; scsi and blk went on");

            await second.RebootAsync();
            await second.WaitForDisksAsync(ComputeVm.DiskCount, ComputeVm.Patience);
            luns = await ComputeVm.ScsiDisksAsync(second);
            await ComputeVm.VerifyAsync(second, luns[2]);
            await CompareImagesAsync(scenario, appliance, second, luns);
            steps.Done("rebooted; the images hold what the Compute VM reads");
        });
    }

    [Fact]
    public async Task All_by_uio_without_an_iommu()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            var steps = new Steps();
            await VvuDevices.StartAsync(scenario);
            ApplianceVm appliance = await ApplianceVm.StartAsync(scenario, hasIommu: false);
            await appliance.StartVhostdAsync();
            steps.Done("the appliance serves");
            steps.Say($"vhostd in the first seconds after its start, no Compute VM: {await appliance.MeasureAsync(IdleSeconds)}");

            GuestVm compute = await ComputeVm.StartAsync(scenario, QemuRelease.Bookworm, "compute");
            IReadOnlyList<string> luns = await ComputeVm.ScsiDisksAsync(compute);
            foreach (string disk in (string[])[.. luns, ComputeVm.Blk])
            {
                await ComputeVm.VerifyAsync(compute, disk);
            }

            Assert.Equal(0, await appliance.CopiedCommandsAsync("NVMe1n1"));
            Assert.NotEqual(0, await appliance.CopiedCommandsAsync("VirtioScsi0t0"));
            steps.Done("fio is right on each; NVMe was not copied");

            Idling idle = await appliance.MeasureAsync(IdleSeconds);
            steps.Say($"idle vhostd, Compute VM connected: {idle}");

            // No device interrupts here: the queues are polled, but with back-off. Eight queues once a millisecond each; without back-off it were millions, and no sleep.
            Assert.True(idle.Asleep > 0);
            Assert.InRange(idle.PollsPerSecond, 1, 16_000);

            await ComputeVm.MakeFilesAsync(compute, ComputeVm.Blk);

            // QEMU 7.2 reconnects for blk alone, and vhostd says what to do about scsi.
            await RestartVhostdWhileItWritesAsync(appliance, compute, [ComputeVm.Blk]);
            await ComputeVm.CheckFilesAsync(compute, ComputeVm.Blk);
            string blk = await ComputeVm.Sha256Async(compute, ComputeVm.Blk);
            await appliance.StopVhostdAsync();
            Assert.Equal(blk, HashOf(scenario, "NVMe1n2"));
            steps.Done("vhostd restarted while it wrote; blk went on");
        });
    }

    private static async Task KillWhileItWritesAsync(GuestVm vm, IReadOnlyList<string> disks)
    {
        Task[] writers = [.. disks.Select(d => ComputeVm.WriteFilesAsync(vm, d))];
        await ComputeVm.WaitForWritesAsync(vm, 40, disks);
        vm.Kill();
        foreach (Task writer in writers)
        {
            await Assert.ThrowsAsync<EndToEndException>(() => writer);
        }
    }

    private static async Task RestartVhostdWhileItWritesAsync(ApplianceVm appliance, GuestVm vm, IReadOnlyList<string> disks)
    {
        Task<CommandResult>[] writers = [.. disks.Select(d => ComputeVm.WriteFilesAsync(vm, d))];
        await ComputeVm.WaitForWritesAsync(vm, 40, disks);
        await appliance.StopVhostdAsync();
        string log = await appliance.ReadLogAsync();
        Assert.Contains("guest: the other VM loses its disks until vhostd is back", log, StringComparison.Ordinal);
        Assert.Contains("vhost-user-scsi that takes QEMU 8.2 or newer", log, StringComparison.Ordinal);
        Assert.DoesNotContain("the session with the other VM ends", log, StringComparison.Ordinal);
        Assert.DoesNotContain("withdrawing", log, StringComparison.Ordinal);
        await appliance.StartVhostdAsync();
        await ComputeVm.WaitForWritesAsync(vm, 40, disks);
        await vm.CheckAsync("touch /run/enough");
        foreach (Task<CommandResult> writer in writers)
        {
            CommandResult result = await writer;
            Assert.True(result.ExitCode == 0, result.Output);
        }

        await vm.CheckAsync("rm /run/enough");
    }

    private static async Task CompareImagesAsync(Scenario scenario, ApplianceVm appliance, GuestVm vm, IReadOnlyList<string> luns)
    {
        string[] read =
        [
            await ComputeVm.Sha256Async(vm, luns[0]), await ComputeVm.Sha256Async(vm, luns[1]), await ComputeVm.Sha256Async(vm, ComputeVm.Blk),
        ];
        await appliance.StopVhostdAsync();
        Assert.Equal(read, Images.Select(i => HashOf(scenario, i)));
    }

    private static string HashOf(Scenario scenario, string image) => Contents.Sha256(scenario.FilePath($"{image}.img"));

    /// <summary>Says on the test's output where the time goes.</summary>
    private sealed class Steps
    {
        private long _start = Stopwatch.GetTimestamp();

        public void Done(string what)
        {
            Say($"{Stopwatch.GetElapsedTime(_start).TotalSeconds,5:F1} s  {what}");
            _start = Stopwatch.GetTimestamp();
        }

        public void Say(string what) => TestContext.Current.TestOutputHelper?.WriteLine(what);
    }
}
