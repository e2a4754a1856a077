using System.Text.Json.Nodes;
using Vhost.Abstractions;
using Vhost.Testing.DeviceModels.Nvme;
using Vhost.Testing.DeviceModels.VirtioScsi;
using Vhost.VfioUser;

namespace Vhost.Crash.Tests;

/// <summary>
/// vhostd is killed while devices that it drives have commands under way. The devices are models in this process: they live on, and what the HBA was doing is
/// done at once, later, while the next vhostd resets it, or never. One such load at a time: the guests spin.
/// </summary>
[Collection(nameof(KillTests))]
public sealed class PciKillTests
{
    private const int Places = 64;
    private const int Kills = 6;
    private static readonly int[] Targets = [0, 3];

    [Fact]
    public async Task No_byte_is_lost_or_written_out_of_order_behind_an_hba_and_an_nvme_controller()
    {
        int seed = TestSeed.Get();
        TestContext.Current.TestOutputHelper!.WriteLine($"seed {seed}");
        var choices = new Random(seed);
        var settings = new VirtioScsiSettings { OnCommand = (_, code) => code is 0x2a or 0x8a && choices.Next(2) == 0 ? VirtioScsiFault.Late : VirtioScsiFault.None };
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            using var hba = new VirtioScsiModel(settings);
            hba.Add(Targets[0], 512, Places * Guest.BlockBytes / 512);
            hba.Add(Targets[1], 4096, Places);
            using var nvme = new NvmeModel(new NvmeSettings { Sgl = 1 });
            nvme.Add(1, new NvmeModelNamespace(512, Places * Guest.BlockBytes / 512));
            using var hbaServer = new VfioUserServer(scenario.FilePath("hba"), hba);
            using var nvmeServer = new VfioUserServer(scenario.FilePath("nvme"), nvme);

            GuestKind[] kinds =
            [
                new("blk split behind the HBA", false, VirtqueueFormat.Split, 16, seed + 1), new("scsi packed behind the HBA", true, VirtqueueFormat.Packed, 16, seed + 2),
                new("blk packed behind NVMe", false, VirtqueueFormat.Packed, 16, seed + 3),
            ];
            JsonObject manifest = new ManifestBuilder()
                .Bdev("Hba0", "virtio-scsi", new() { ["address"] = scenario.FilePath("hba") }).Bdev("Nvme0", "nvme", new() { ["address"] = scenario.FilePath("nvme") })
                .Blk("vhost.0", Socket(0), $"Hba0t{Targets[0]}").Scsi("vhost.1", Socket(1), $"Hba0t{Targets[1]}").Blk("vhost.2", Socket(2), "Nvme0n1").Build();
            await KillRun.RunAsync(scenario, kinds, Socket, Places, manifest, Kills, static _ => TestEnvironment.VhostdDirectory, seed);
            TestContext.Current.TestOutputHelper!.WriteLine($"{hba.Commands} commands of the HBA, {hba.Stragglers} of them done after the death of the vhostd that sent them; {hba.Resets} resets");
            Assert.Equal(0, hba.Violations);
            Assert.True(hba.Stragglers > 0, "nothing was under way in the HBA at any kill");
        });

        string Socket(int i) => scenario.FilePath($"{i}.sock");
    }
}
