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

    private static async Task<ApplianceVm> StartAsync(Scenario scenario)
    {
        ApplianceVm appliance = await ApplianceVm.StartAsync(scenario, new ApplianceOptions { HasIommu = true });
        await appliance.BindAsync("vfio-pci");
        await appliance.StartVhostdAsync();
        return appliance;
    }
}
