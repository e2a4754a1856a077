using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.Appliance.Tests;

/// <summary>
/// vhostd is killed while reads with physical addresses are under way. QEMU lets them land in memory later, whatever became of bus mastering, as it has
/// mapped their buffers before: what a freed page would suffer is to be seen here. The HBA is left out: QEMU ends the requests of all its disks
/// when a virtio-scsi device is stopped.
/// </summary>
public sealed class KilledTests
{
    // Bytes a second: one read of 128 KiB takes longer than the test.
    private const long Stuck = 256;

    [Fact]
    public async Task No_freed_page_changes_when_reads_land_after_the_end_of_the_process_that_asked_for_them()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            ApplianceVm appliance = await ApplianceVm.StartAsync(scenario, new ApplianceOptions { HugePages = 16 });
            (ApplianceDisk Disk, uint Seed)[] disks = [(appliance.Disks[2], 502), (appliance.Disks[3], 503)];
            await appliance.BindAsync("uio_pci_generic");
            await appliance.StartVhostdAsync(withHba: false);
            await appliance.FillAsync("ram", 500, disks[0].Disk, disks[1].Disk);

            // Reads of both namespaces are under way when vhostd is killed, and still afterwards.
            (long First, long Second) atKill = await KillUnderReadsAsync(appliance);
            string left = Assert.Single(await appliance.LeftDirectoriesAsync());
            await appliance.HoldMemoryAsync(reserveMiB: 300);
            Assert.Equal(atKill, await CountAsync(appliance));

            // Those of one land while all free memory is watched.
            await appliance.ThrottleAsync("ns1", 0);
            await Deadline.UntilAsync("reads land after the kill", TimeSpan.FromSeconds(120), async () => (await CountAsync(appliance)).First > atKill.First);
            Assert.StartsWith("unchanged", await appliance.CheckMemoryAsync(), StringComparison.Ordinal);

            // That of the other is under way until the next vhostd resets the controller. It needs the pages, as all others are held, and frees them only then.
            Assert.Equal(atKill.Second, (await CountAsync(appliance)).Second);
            Assert.Equal([left], await appliance.LeftDirectoriesAsync());
            await appliance.StartVhostdAsync(withHba: false);
            Assert.True((await CountAsync(appliance)).Second > atKill.Second, "the reset ended no read");
            Assert.Contains($"removed {left}", await appliance.ReadLogAsync(), StringComparison.Ordinal);
            Assert.DoesNotContain(left, await appliance.LeftDirectoriesAsync());
            Assert.StartsWith("unchanged", await appliance.CheckMemoryAsync(), StringComparison.Ordinal);
            await appliance.ReleaseMemoryAsync();
            await appliance.ThrottleAsync("ns2", 0);
            await appliance.CheckAsync("ram", disks);

            // Once more, but the pages are given away at the kill: this test sees what it looks for.
            atKill = await KillUnderReadsAsync(appliance);
            await appliance.Guest.CheckAsync("rm -r /dev/hugepages/vhostd-*");
            await appliance.HoldMemoryAsync(reserveMiB: 300);
            await appliance.ThrottleAsync("ns1", 0);
            await Deadline.UntilAsync("reads land after the kill", TimeSpan.FromSeconds(120), async () => (await CountAsync(appliance)).First > atKill.First);
            Assert.StartsWith("changed", await appliance.CheckMemoryAsync(), StringComparison.Ordinal);
        });
    }

    // Nobody can submit a read afterwards, so whatever is carried out later was under way at the kill.
    private static async Task<(long First, long Second)> KillUnderReadsAsync(ApplianceVm appliance)
    {
        await appliance.ThrottleAsync("ns1", Stuck);
        await appliance.ThrottleAsync("ns2", Stuck);
        await appliance.ReadSlowlyAsync((appliance.Disks[2], "ns1"), (appliance.Disks[3], "ns2"));
        Assert.True(await appliance.IsBusMasterAsync(ApplianceVm.Nvme));
        await appliance.KillWithClientAsync();
        Assert.False(await appliance.IsBusMasterAsync(ApplianceVm.Nvme));
        return await CountAsync(appliance);
    }

    private static async Task<(long First, long Second)> CountAsync(ApplianceVm appliance) =>
        (await appliance.CompletedReadsAsync("ns1"), await appliance.CompletedReadsAsync("ns2"));
}
