using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.Appliance.Tests;

/// <summary>Both controllers without an IOMMU, by uio_pci_generic and physical addresses.</summary>
public sealed class UioTests
{
    [Fact]
    public async Task Data_goes_to_the_disks_and_back_copied_only_where_pages_may_move()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            ApplianceVm appliance = await ApplianceVm.StartAsync(scenario, new ApplianceOptions { HugePages = 48 });
            await appliance.AssertThatDisksInUseAreRefusedAsync();
            await appliance.BindAsync("uio_pci_generic");
            await appliance.StartVhostdAsync();

            await appliance.FillAsync("huge", 300);
            appliance.AssertImagesHold(300);

            Assert.Equal(0, await appliance.StopVhostdAsync());
            Assert.Equal([0, 0], await appliance.BouncedTransfersAsync());

            // Ordinary memory may move: every transfer is copied, and right.
            await appliance.StartVhostdAsync();
            await appliance.FillAsync("ram", 400);
            appliance.AssertImagesHold(400);
            Assert.Equal(0, await appliance.StopVhostdAsync());
            Assert.All(await appliance.BouncedTransfersAsync(), count => Assert.True(count > 0));
            await appliance.AssertThatDisksAreGivenBackAsync();
        });
    }
}
