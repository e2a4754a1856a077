using System.Text.Json.Nodes;

namespace Vhost.Appliance.Tests;

/// <summary><c>vhostd pci</c> as its user runs it.</summary>
internal sealed partial class ApplianceVm
{
    /// <summary>The kernel drives the HBA and has one of its disks mounted: it is listed so and not taken. Afterwards nothing is mounted.</summary>
    public async Task AssertThatDisksInUseAreRefusedAsync()
    {
        await Guest.CheckAsync(
            """
            set -e
            disk=$(basename $(ls -d /sys/bus/pci/devices/0000:00:05.0/virtio*/host*/target*/*/block/* | head -1))
            mkfs.ext4 -q /dev/$disk
            mkdir -p /mnt/disk
            mount /dev/$disk /mnt/disk
            """);
        JsonNode hba = await ListedAsync(Hba);
        Assert.Equal("virtio-pci", (string?)hba["driver"]);
        Assert.Equal(2, hba["blockDevices"]!.AsArray().Count);
        Assert.False((bool)hba["safeToTake"]!);
        Assert.Contains("mounted", (string?)hba["obstacle"], StringComparison.Ordinal);

        EndToEnd.Tests.Harness.CommandResult refused = await Guest.RunAsync($"/app/vhostd/vhostd pci bind {Hba}", StartTimeout);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("mounted", refused.Output, StringComparison.Ordinal);
        await Guest.CheckAsync($"[ $(basename $(readlink /sys/bus/pci/devices/{Hba}/driver)) = virtio-pci ] && touch /mnt/disk/file && umount /mnt/disk");
    }

    /// <summary>Gives both controllers back: the kernel's drivers find their disks again.</summary>
    public async Task AssertThatDisksAreGivenBackAsync()
    {
        Assert.Equal("uio_pci_generic", (string?)(await ListedAsync(Hba))["driver"]);
        await Guest.CheckAsync(
            $"""
            set -e
            modprobe nvme
            /app/vhostd/vhostd pci unbind {Hba} {Nvme}
            for i in $(seq 300); do
              [ $(ls -d /sys/bus/pci/devices/{Hba}/virtio*/host*/target*/*/block/* 2>/dev/null | wc -l) = 2 ] && [ -b /dev/nvme0n1 ] && [ -b /dev/nvme0n2 ] && exit 0
              sleep 0.1
            done
            exit 1
            """,
            StartTimeout);
    }

    private async Task<JsonNode> ListedAsync(string address)
    {
        string json = await Guest.CheckAsync("/app/vhostd/vhostd pci list --json", StartTimeout);
        return JsonNode.Parse(json)!["devices"]!.AsArray().Single(d => (string?)d!["address"] == address)!;
    }
}
