using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.VvuTopology.Tests;

/// <summary>A unix socket and a vvu device are one line of the manifest apart. vhostd runs on this machine and drives vvu-device over vfio-user, which needs no second VM.</summary>
public sealed class SameManifestTests
{
    private const int MemoryMiB = 512;
    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(120);

    // What a user would look at, and contents that are the same each time.
    private const string Look =
        """
        set -e
        lsscsi | sed 's#/dev/sd[a-z]##' | sort
        for target in 0 1 2; do
          disk=$(lsscsi -b 0:0:$target:0 | awk '{ print $2 }')
          echo "target $target: $(blockdev --getsize64 --getss --getpbsz --getmaxsect $disk | tr '\n' ' ')"
          sg_vpd --page=di $disk; sg_vpd --page=sn $disk; sg_vpd --page=bl $disk; sg_vpd --page=lbpv $disk
          seq $((target * 1000000)) $((target * 1000000 + 600000)) | dd of=$disk bs=64k iflag=fullblock oflag=direct conv=notrunc 2>/dev/null count=64
          blkdiscard --offset 1M --length 1M $disk
          dd if=$disk bs=1M iflag=direct 2>/dev/null | sha256sum
        done
        """;

    [Fact]
    public async Task One_line_of_the_manifest_apart_gives_the_same_disks_with_the_same_data()
    {
        await using var scenario = new Scenario();
        string bySocket = Manifest(scenario, Guide.Block("socket-line").Replace("/run/vhost.0.sock", scenario.FilePath("vhost.0.sock"), StringComparison.Ordinal).Trim());
        string byVvu = Manifest(scenario, $$"""
            "guest": { "type": "vvu", "address": "{{scenario.FilePath("vvu.sock")}}" }
            """);
        string[][] lines = [bySocket.Split('\n'), byVvu.Split('\n')];
        Assert.Equal(lines[0].Length, lines[1].Length);
        Assert.Contains("\"guest\"", Assert.Single(lines[0].Zip(lines[1]), l => l.First != l.Second).First, StringComparison.Ordinal);

        (string Seen, string[] Images) socket = await RunAsync(bySocket, scenario, isVvu: false);
        (string Seen, string[] Images) vvu = await RunAsync(byVvu, scenario, isVvu: true);
        Assert.Equal(socket.Seen, vvu.Seen);
        Assert.Equal(socket.Images, vvu.Images);
    }

    private static string Manifest(Scenario scenario, string transport) =>
        $$"""
        {
          "bdevs": {
            "File0": { "type": "file", "path": "{{scenario.FilePath("0.img")}}" },
            "File1": { "type": "file", "path": "{{scenario.FilePath("1.img")}}" },
            "Malloc0": { "type": "malloc", "sizeMiB": 16 }
          },
          "transports": {
            {{transport}}
          },
          "controllers": {
            "vhost.0": { "type": "scsi", "transport": "guest", "targets": { "0": "File0", "1": "File1", "2": "Malloc0" } }
          }
        }
        """;

    private static async Task<(string Seen, string[] Images)> RunAsync(string manifest, Scenario files, bool isVvu)
    {
        string[] images = [Disk.Create(files.FilePath("0.img"), 16), Disk.Create(files.FilePath("1.img"), 16)];
        await using var scenario = new Scenario();
        return await scenario.WatchAsync(async () =>
        {
            string memory = scenario.FilePath("memory");
            string socket = files.FilePath(isVvu ? "compute.sock" : "vhost.0.sock");
            if (isVvu)
            {
                await VvuDevices.StartAsync(scenario, "vvu-device", ["--vfio-user", files.FilePath("vvu.sock"), "--vhost-user", socket, "--memory", memory, "--memory-size", $"{MemoryMiB}M"]);
            }

            VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, manifest);
            GuestVm vm = await GuestVm.StartAsync(scenario, new GuestVmOptions { MemoryMiB = MemoryMiB, MemoryFile = memory, Disks = [VhostUserDevice.Scsi(socket)] });
            await vm.WaitForDisksAsync(3, ComputeVm.Patience);
            string seen = await vm.CheckAsync(Look, ComputeVm.Patience);
            vm.Kill();
            Assert.Equal(0, vhostd.Stop(StartTimeout));
            return (seen, images.Select(Contents.Sha256).ToArray());
        });
    }
}
