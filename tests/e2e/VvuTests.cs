using System.Text.Json.Nodes;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.EndToEnd.Tests;

/// <summary>A guest that is served through vvu-device: vhostd drives the device over vfio-user, QEMU connects to it by vhost-user.</summary>
public sealed class VvuTests
{
    private const int MemoryMiB = 512;
    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(120);

    [Theory]
    [InlineData("capabilities")]
    [InlineData("fixed")]
    public async Task A_guest_sees_scsi_and_blk_disks_through_vvu_devices(string layout)
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            // Both devices show the same memory.
            string memory = scenario.FilePath("memory");
            string scsi = await StartDeviceAsync(scenario, "scsi", layout, memory);
            string blk = await StartDeviceAsync(scenario, "blk", layout, memory);
            JsonObject manifest = new ManifestBuilder()
                .Malloc("Malloc0", 64).Malloc("Malloc1", 96).Malloc("Malloc2", 48)
                .Scsi("vhost.0", scsi, "Malloc0", "Malloc1").Blk("vhost.1", blk, "Malloc2").Build();

            // One line differs from a manifest for sockets.
            foreach (string name in (string[])["vhost.0-socket", "vhost.1-socket"])
            {
                string socket = (string)manifest["transports"]![name]!["socket"]!;
                manifest["transports"]![name] = new JsonObject { ["type"] = "vvu", ["address"] = $"{socket}.vfio-user" };
            }

            await VhostdProcess.StartAsync(scenario, manifest);
            GuestVm vm = await GuestVm.StartAsync(scenario, new GuestVmOptions
            {
                MemoryMiB = MemoryMiB, MemoryFile = memory,
                Disks = [VhostUserDevice.Scsi(scsi, "num_queues=2"), VhostUserDevice.Blk(blk, "num-queues=2")],
            });
            await vm.WaitForDisksAsync(3);
            foreach (string disk in (string[])["/dev/sda", "/dev/sdb", "/dev/vda"])
            {
                await vm.CheckAsync(Fio.Verify(disk, 16));
            }

            await vm.RebootAsync();
            await vm.WaitForDisksAsync(3);
            await vm.CheckAsync(Fio.Verify("/dev/sda", 8));
        });
    }

    private static async Task<string> StartDeviceAsync(Scenario scenario, string name, string layout, string memory)
    {
        string socket = scenario.FilePath(name);
        ChildProcess device = scenario.Add(new Device(ChildProcess.Start(
            $"vvu-device for {name}", TestEnvironment.VvuDevice,
            ["--vfio-user", $"{socket}.vfio-user", "--vhost-user", socket, "--memory", memory, "--memory-size", $"{MemoryMiB}M", "--layout", layout]))).Process;
        await Deadline.UntilAsync("vvu-device is ready", StartTimeout, () => device.StandardError.Contains("ready:", StringComparison.Ordinal));
        return socket;
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
