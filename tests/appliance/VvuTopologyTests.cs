using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.Appliance.Tests;

/// <summary>Two virtual machines: vhostd in the Appliance VM (QEMU 11.1), behind a vvu device that vvu-device serves, gives disks to the Compute VM (QEMU 7.2).</summary>
public sealed class VvuTopologyTests
{
    private const int ComputeMiB = 512;
    private const string Vvu = "0000:00:08.0";
    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(100);

    [Fact]
    public async Task A_compute_vm_sees_and_verifies_disks_of_an_appliance_vm()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string socket = scenario.FilePath("vvu");
            string memory = scenario.FilePath("memory");
            await StartDeviceAsync(scenario, socket, memory);
            GuestVm appliance = await StartApplianceAsync(scenario, socket);
            await StartVhostdAsync(appliance);

            GuestVm compute = await GuestVm.StartAsync(
                scenario, new GuestVmOptions { MemoryMiB = ComputeMiB, MemoryFile = memory, Disks = [VhostUserDevice.Scsi(socket)] }, "compute");
            await compute.WaitForDisksAsync(3, TimeSpan.FromSeconds(60));
            string disks = await compute.CheckAsync("lsscsi");
            Assert.Contains("Virtio SCSI Disk", disks, StringComparison.Ordinal);
            Assert.Contains("NVMe disk", disks, StringComparison.Ordinal);
            Assert.Contains("Malloc disk", disks, StringComparison.Ordinal);
            foreach (string disk in (await GuestChecks.ScsiDisksAsync(compute)).Values)
            {
                await compute.CheckAsync(Fio.Verify(disk, 4), StartTimeout);
                await compute.CheckAsync(Fio.Verify(disk, 8, blockBytes: 131072, depth: 4), StartTimeout);
            }

            string log = await appliance.CheckAsync("cat /run/vhostd.log");
            Assert.Contains("the other VM is connected", log, StringComparison.Ordinal);
            Assert.DoesNotContain(" fail: vhostd.transport", log, StringComparison.Ordinal);
            Assert.Equal("0", (await appliance.CheckAsync(
                "kill -TERM $(cat /run/vhostd.pid); for i in $(seq 400); do [ -e /run/vhostd.exit ] && break; sleep 0.1; done; cat /run/vhostd.exit")).Trim());
        });
    }

    private static async Task StartDeviceAsync(Scenario scenario, string socket, string memory)
    {
        ChildProcess device = scenario.Add(new Device(ChildProcess.Start(
            "vvu-device", TestEnvironment.VvuDevice,
            ["--vfio-user", $"{socket}.vfio-user", "--vhost-user", socket, "--memory", memory, "--memory-size", $"{ComputeMiB}M", "--no-interrupt-line"]))).Process;
        await Deadline.UntilAsync("vvu-device is ready", StartTimeout, () => device.StandardError.Contains("ready:", StringComparison.Ordinal));
    }

    private static Task<GuestVm> StartApplianceAsync(Scenario scenario, string socket) => GuestVm.StartAsync(
        scenario,
        new GuestVmOptions
        {
            Qemu = QemuRelease.Trixie,
            MemoryMiB = 1024,
            KernelArguments = "hugepages=64",
            ExtraArguments =
            [
                "-drive", $"file={ApplianceImage.FilePath},format=raw,if=none,id=system,read-only=on", "-device", "virtio-blk-pci,drive=system",
                "-blockdev", $"driver=raw,node-name=drive0,discard=unmap,file.driver=file,file.filename={Disk.Create(scenario.FilePath("NVMe1n1.img"), ApplianceDisk.SizeMiB)}",
                "-blockdev", $"driver=raw,node-name=drive1,discard=unmap,file.driver=file,file.filename={Disk.Create(scenario.FilePath("VirtioScsi0t0.img"), ApplianceDisk.SizeMiB)}",
                "-device", "virtio-scsi-pci,id=hba,addr=5,disable-legacy=on,iommu_platform=on", "-device", "scsi-hd,drive=drive1,bus=hba.0,scsi-id=0",
                "-device", "nvme,id=nvme,addr=6,serial=appliance",
                "-device", "nvme-ns,drive=drive0,bus=nvme,logical_block_size=512,physical_block_size=512",
                "-device", $$$"""{"driver":"vfio-user-pci","addr":"8","socket":{"type":"unix","path":"{{{socket}}}.vfio-user"}}""",
            ],
        },
        "appliance");

    private static async Task StartVhostdAsync(GuestVm appliance)
    {
        await appliance.CheckAsync(
            $$"""
            set -e
            mkdir -p /app /dev/hugepages
            mount -o ro /dev/vda /app
            mount -t hugetlbfs none /dev/hugepages
            modprobe uio_pci_generic
            for device in {{ApplianceVm.Hba}} {{ApplianceVm.Nvme}} {{Vvu}}; do
              cd /sys/bus/pci/devices/$device
              echo uio_pci_generic > driver_override
              [ ! -e driver ] || echo $device > driver/unbind
              echo $device > /sys/bus/pci/drivers_probe
              [ "$(basename "$(readlink driver)")" = uio_pci_generic ]
            done
            cd /
            cat > /run/vhostd.json <<'END'
            {
              "bdevs": {
                "VirtioScsi0": { "type": "virtio-scsi", "address": "{{ApplianceVm.Hba}}", "timeoutSeconds": 60 },
                "NVMe1": { "type": "nvme", "address": "{{ApplianceVm.Nvme}}", "timeoutSeconds": 60 },
                "Malloc0": { "type": "malloc", "sizeMiB": 64 }
              },
              "transports": { "guest": { "type": "vvu", "address": "{{Vvu}}" } },
              "controllers": { "vhost.0": { "type": "scsi", "transport": "guest", "targets": { "0": "VirtioScsi0t0", "1": "NVMe1n1", "2": "Malloc0" } } }
            }
            END
            (/app/vhostd/vhostd run /run/vhostd.json > /run/vhostd.log 2>&1 & echo $! > /run/vhostd.pid; wait $!; echo $? > /run/vhostd.exit) > /dev/null 2>&1 &
            """);
        await Deadline.UntilAsync("vhostd in the appliance is ready", StartTimeout, async () =>
        {
            string log = await appliance.CheckAsync("cat /run/vhostd.log 2>/dev/null; [ ! -e /run/vhostd.exit ] || echo ENDED");
            return log.Contains("ENDED", StringComparison.Ordinal) ? throw new EndToEndException($"vhostd ended:\n{log}") : log.Contains("vhostd is ready", StringComparison.Ordinal);
        });
    }

    private sealed class Device(ChildProcess process) : IAsyncDisposable, IDiagnosable
    {
        public ChildProcess Process => process;

        public string Diagnose() => process.Diagnose();

        public ValueTask DisposeAsync()
        {
            process.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
