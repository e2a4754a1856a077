using System.Text.Json.Nodes;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.EndToEnd.Tests;

/// <summary>A backend that was compiled elsewhere works by being copied in.</summary>
public sealed class DropInTests
{
    [Fact]
    public async Task A_plugin_compiled_against_the_packed_contract_serves_a_guest()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string plugins = Directory.CreateDirectory(scenario.FilePath("plugins")).FullName;
            BuildElsewhere(scenario, Path.Combine(plugins, "ramdisk"));
            string socket = scenario.FilePath("scsi.sock");
            string blk = scenario.FilePath("blk.sock");
            JsonObject manifest = new ManifestBuilder()
                .Bdev("Ram0", "ramdisk", new JsonObject { ["sizeMiB"] = 64 }).Bdev("Ram1", "ramdisk", new JsonObject { ["sizeMiB"] = 64 })
                .Scsi("vhost.0", socket, "Ram0").Blk("vhost.1", blk, "Ram1")
                .Build();
            manifest["plugins"] = new JsonObject { ["directories"] = new JsonArray(Path.Combine(TestEnvironment.VhostdDirectory, "plugins"), plugins) };
            await VhostdProcess.StartAsync(scenario, manifest);
            GuestVm vm = await GuestVm.StartAsync(scenario, new GuestVmOptions { Disks = [VhostUserDevice.Scsi(socket), VhostUserDevice.Blk(blk)] });
            await vm.WaitForDisksAsync(2);
            await vm.CheckAsync(Fio.Verify("/dev/sda", 8));
            await vm.CheckAsync(Fio.Verify("/dev/vda", 8));
            await GuestChecks.FileSystemAsync(vm, "/dev/sda");
        });
    }

    // As the sample's README says, in a directory that has nothing of this repository around it.
    private static void BuildElsewhere(Scenario scenario, string target)
    {
        string elsewhere = Directory.CreateDirectory(scenario.FilePath("elsewhere")).FullName;
        string sample = Path.Combine(TestEnvironment.RepositoryRoot, "samples", "ramdisk-plugin");
        foreach (string file in Directory.GetFiles(sample))
        {
            File.Copy(file, Path.Combine(elsewhere, Path.GetFileName(file)));
        }

        string contract = Path.Combine(TestEnvironment.RepositoryRoot, "abstractions");
        TestEnvironment.RunToEnd("dotnet", ["pack", contract, "-c", "Release", "-o", Path.Combine(elsewhere, "feed"), "-v", "q", "-nologo"], TimeSpan.FromMinutes(3));
        TestEnvironment.RunToEnd("dotnet", ["build", elsewhere, "-c", "Release", "-o", target, "-v", "q", "-nologo"], TimeSpan.FromMinutes(3));
    }
}
