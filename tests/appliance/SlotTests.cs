using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.Appliance.Tests;

/// <summary>Under reads of two disks a third one is pulled out of the HBA and put back, then the NVMe controller itself, out of its PCI Express slot.</summary>
public sealed class SlotTests
{
    [Fact]
    public async Task What_is_pulled_out_and_put_back_is_taken_again_with_its_data_and_disturbs_no_other()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            ApplianceVm appliance = await ApplianceVm.StartAsync(scenario, new ApplianceOptions { HasIommu = true, HasNvmeSlot = true });
            ApplianceDisk steady = appliance.Disks[0];
            ApplianceDisk other = appliance.Disks[1];
            ApplianceDisk fleeting = appliance.Disks[2];
            await appliance.BindAsync("vfio-pci");
            await appliance.StartVhostdAsync();
            await appliance.FillAsync("ram", 600);
            await appliance.StartEnduranceAsync(steady, fleeting, 600);

            await appliance.UnplugSecondDiskAsync();
            await appliance.PlugSecondDiskAsync();
            (long Steady, long Fleeting, long Failed) undisturbed = await appliance.ReadCountsAsync();
            Assert.Equal(0, undisturbed.Failed);
            await appliance.WaitForReadsAsync("reads of both disks go on", c => c.Steady > undisturbed.Steady && c.Fleeting > undisturbed.Fleeting);

            await appliance.UnplugNvmeAsync();
            (long Steady, long Fleeting, long Failed) gone = await appliance.WaitForReadsAsync("reads of what is gone fail", c => c.Failed > 0);
            await appliance.WaitForReadsAsync("reads of the other disk go on", c => c.Steady > gone.Steady + 8);

            await appliance.PlugNvmeAsync();
            (long Steady, long Fleeting, long Failed) back = await appliance.ReadCountsAsync();
            await appliance.WaitForReadsAsync("reads go on where they failed", c => c.Fleeting > Math.Max(back.Fleeting, gone.Fleeting) && c.Steady > back.Steady);
            await appliance.StopEnduranceAsync();
            await appliance.CheckAsync("ram", (other, 601u), (fleeting, 602u));

            string log = await appliance.ReadLogAsync();
            Assert.Contains("attempt 1, next in", log, StringComparison.Ordinal);
            Assert.Equal(0, await appliance.StopVhostdAsync());
            appliance.AssertImagesHold(600);
        });
    }
}
