using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.Appliance.Tests;

/// <summary>Both controllers behind an IOMMU, by vfio.</summary>
public sealed class VfioTests
{
    [Fact]
    public async Task Data_goes_to_the_disks_and_back_without_a_copy_from_memory_and_from_a_bar()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            ApplianceVm appliance = await StartAsync(scenario);
            await appliance.FillAsync("ram", 100);
            appliance.AssertImagesHold(100);
            await appliance.FillAsync(ApplianceVm.BarFile, 200);
            appliance.AssertImagesHold(200);

            Assert.Equal(0, await appliance.StopVhostdAsync());
            Assert.Equal([0, 0], await appliance.BouncedTransfersAsync());
            appliance.AssertImagesHold(200);
        });
    }

    [Fact]
    public async Task A_disk_that_is_pulled_out_and_put_back_disturbs_no_other_and_keeps_its_data()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            ApplianceVm appliance = await StartAsync(scenario);
            await appliance.FillAsync("ram", 300, appliance.Disks[1]);
            Task<string> load = appliance.FillAsync("ram", 300, [.. Enumerable.Repeat(appliance.Disks[0], 8)]);
            await appliance.UnplugSecondDiskAsync();
            await appliance.PlugSecondDiskAsync();
            Assert.False(load.IsCompleted, "the load ended before the disk was back");
            await load;
            appliance.Disks[0].AssertHolds(300);
            appliance.Disks[1].AssertHolds(301);
            await appliance.CheckAsync("ram", (appliance.Disks[1], 301u));
            Assert.Equal(0, await appliance.StopVhostdAsync());
        });
    }

    private static async Task<ApplianceVm> StartAsync(Scenario scenario)
    {
        ApplianceVm appliance = await ApplianceVm.StartAsync(scenario, new ApplianceOptions { HasIommu = true });
        await appliance.BindAsync("vfio-pci");
        await appliance.StartVhostdAsync();
        return appliance;
    }
}
