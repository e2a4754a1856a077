using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.Appliance.Tests;

/// <summary>What an appliance is made of.</summary>
internal sealed record ApplianceOptions
{
    /// <summary>Whether it has an IOMMU.</summary>
    public bool HasIommu { get; init; }

    /// <summary>Whether the NVMe controller is in a slot that it can be pulled out of; it then has one namespace.</summary>
    public bool HasNvmeSlot { get; init; }

    /// <summary>Huge pages of 2 MiB that are set aside at start.</summary>
    public int HugePages { get; init; }
}

/// <summary>
/// A virtual machine with an NVMe controller of two namespaces (512 and 4096 byte blocks) and a virtio-scsi HBA of two disks, which runs vhostd in front of them. It also
/// has an ivshmem device: 16 MiB of memory in its BAR 2.
/// </summary>
internal sealed partial class ApplianceVm : IDiagnosable, IAsyncDisposable
{
    /// <summary>The NVMe controller.</summary>
    public const string Nvme = "0000:00:06.0";

    /// <summary>The NVMe controller in its slot, the only one behind a bridge.</summary>
    public const string NvmeInSlot = "0000:01:00.0";

    /// <summary>The virtio-scsi HBA.</summary>
    public const string Hba = "0000:00:05.0";

    /// <summary>The file of the ivshmem device's BAR 2.</summary>
    public const string BarFile = "/sys/bus/pci/devices/0000:00:07.0/resource2";

    /// <summary>vhostd's socket in the appliance.</summary>
    public const string Socket = "/run/vhost.0.sock";

    // Emulated time and real time differ: a command must not be given up because two test runs share this machine.
    private const int TimeoutSeconds = 60;

    private const string Log = "/run/vhostd.log";

    // An emulated CPU that shares two real ones with everything else has to compile what was not compiled ahead of time.
    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(180);

    private static readonly TimeSpan EventTimeout = TimeSpan.FromSeconds(120);

    private string _lastLog = "";

    private ApplianceVm(GuestVm guest, IReadOnlyList<ApplianceDisk> disks, string nvmeAddress)
    {
        Guest = guest;
        Disks = disks;
        NvmeAddress = nvmeAddress;
    }

    /// <summary>The NVMe controller's address: <see cref="Nvme"/>, or that of its slot.</summary>
    public string NvmeAddress { get; }

    /// <summary>The virtual machine.</summary>
    public GuestVm Guest { get; }

    /// <summary>Its disks, in the order of their targets.</summary>
    public IReadOnlyList<ApplianceDisk> Disks { get; }

    /// <summary>Boots it, with the modules loaded that its user would load.</summary>
    public static async Task<ApplianceVm> StartAsync(Scenario scenario, ApplianceOptions options)
    {
        string[] names = options.HasNvmeSlot ? ["VirtioScsi0t0", "VirtioScsi0t1", "NVMe1n1"] : ["VirtioScsi0t0", "VirtioScsi0t1", "NVMe1n1", "NVMe1n2"];
        ApplianceDisk[] disks =
        [
            .. names.Select((bdev, i) => new ApplianceDisk(bdev, scenario.FilePath($"{bdev}.img"), i)),
        ];
        List<string> arguments = options.HasIommu ? ["-device", "intel-iommu,intremap=off,caching-mode=on"] : [];
        arguments.AddRange(["-drive", $"file={ApplianceImage.FilePath},format=raw,if=none,id=system,read-only=on", "-device", "virtio-blk-pci,drive=system"]);
        for (int i = 0; i < disks.Length; i++)
        {
            Disk.Create(disks[i].Image, ApplianceDisk.SizeMiB);
            arguments.AddRange(["-blockdev", $"driver=raw,node-name=drive{i},discard=unmap,file.driver=file,file.filename={disks[i].Image}"]);
        }

        arguments.AddRange(
        [
            "-device", "virtio-scsi-pci,id=hba,addr=5,disable-legacy=on,iommu_platform=on",
            "-device", "scsi-hd,id=disk0,drive=drive0,bus=hba.0,scsi-id=0", "-device", "scsi-hd,id=disk1,drive=drive1,bus=hba.0,scsi-id=1",
            .. options.HasNvmeSlot
                ? ["-device", "pcie-root-port,id=nvmeslot,chassis=1,addr=8", "-device", "nvme,id=nvme,serial=appliance,bus=nvmeslot,drive=drive2"]
                : NvmeArguments("addr=6"),
            "-object", "memory-backend-memfd,id=bar,size=16M,share=on", "-device", "ivshmem-plain,memdev=bar,addr=7",
        ]);
        GuestVm guest = await GuestVm.StartAsync(
            scenario,
            new GuestVmOptions
            {
                MemoryMiB = 1024,
                KernelArguments = $"{(options.HasIommu ? "intel_iommu=on" : "")} hugepages={options.HugePages}",
                ExtraArguments = arguments,
            },
            "appliance");
        await guest.CheckAsync(
            """
            set -e
            mkdir -p /app /dev/hugepages
            mount -o ro /dev/vda /app
            mount -t hugetlbfs none /dev/hugepages
            modprobe -a vfio_pci vfio_iommu_type1 uio_pci_generic
            echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts
            """);
        return scenario.Add(new ApplianceVm(guest, disks, options.HasNvmeSlot ? NvmeInSlot : Nvme));
    }

    /// <summary>Gives both controllers to the driver for user space that vhostd chooses, as a user would.</summary>
    public Task<string> BindAsync(string driver) => Guest.CheckAsync(
        $"""
        set -e
        /app/vhostd/vhostd pci bind {Hba} {NvmeAddress}
        for device in {Hba} {NvmeAddress}; do
          [ "$(basename "$(readlink /sys/bus/pci/devices/$device/driver)")" = {driver} ]
        done
        """,
        StartTimeout);

    /// <summary>Starts vhostd with its controllers' disks behind one socket, and waits until it serves them all.</summary>
    /// <param name="withHba">Whether it drives the HBA beside the NVMe controller.</param>
    public async Task StartVhostdAsync(bool withHba = true)
    {
        ApplianceDisk[] disks = [.. Disks.Where(d => withHba || d.Bdev.StartsWith("NVMe", StringComparison.Ordinal))];
        string hba = withHba
            ? $$"""
              "VirtioScsi0": { "type": "virtio-scsi", "address": "{{Hba}}", "timeoutSeconds": {{TimeoutSeconds}}, "attachTimeoutSeconds": 600 },
              """
            : "";
        await Guest.CheckAsync(
            $$"""
            cat > /run/vhostd.json <<'END'
            {
              "bdevs": {
                {{hba}}
                "NVMe1": { "type": "nvme", "address": "{{NvmeAddress}}", "timeoutSeconds": {{TimeoutSeconds}}, "attachTimeoutSeconds": 600 }
              },
              "transports": { "guest": { "type": "vhost-user", "socket": "{{Socket}}" } },
              "controllers": {
                "vhost.0": {
                  "type": "scsi",
                  "transport": "guest",
                  "targets": { {{string.Join(", ", disks.Select(d => $"\"{d.Target}\": \"{d.Bdev}\""))}} }
                }
              }
            }
            END
            rm -f /run/vhostd.exit
            (/app/vhostd/vhostd run /run/vhostd.json > {{Log}} 2>&1 & echo $! > /run/vhostd.pid; wait $!; echo $? > /run/vhostd.exit) > /dev/null 2>&1 &
            """);
        await Deadline.UntilAsync("vhostd in the appliance is ready", StartTimeout, async () =>
        {
            string log = await ReadLogAsync();
            return log.Contains("vhostd is ready", StringComparison.Ordinal) && disks.All(d => log.Contains($"bdev {d.Bdev}:", StringComparison.Ordinal))
                || (await HasEndedAsync() ? throw new EndToEndException("vhostd in the appliance ended") : false);
        });
    }

    /// <summary>Stops vhostd by SIGTERM, and returns its exit code.</summary>
    public async Task<int> StopVhostdAsync()
    {
        string code = await Guest.CheckAsync("kill -TERM $(cat /run/vhostd.pid); for i in $(seq 400); do [ -e /run/vhostd.exit ] && break; sleep 0.1; done; cat /run/vhostd.exit");
        await ReadLogAsync();
        return int.Parse(code, CultureInfo.InvariantCulture);
    }

    /// <summary>Ends vhostd by SIGKILL.</summary>
    public Task KillVhostdAsync() => Guest.CheckAsync("kill -KILL $(cat /run/vhostd.pid); while [ ! -e /run/vhostd.exit ]; do sleep 0.05; done");

    /// <summary>What vhostd logged since its last start.</summary>
    public async Task<string> ReadLogAsync() => _lastLog = await Guest.CheckAsync($"cat {Log} 2>/dev/null || true");

    /// <summary>Transfers that went through bounce buffers, as vhostd logs at its end for each controller.</summary>
    public async Task<IReadOnlyList<long>> BouncedTransfersAsync() =>
        [.. Bounced().Matches(await ReadLogAsync()).Select(m => long.Parse(m.Groups[1].ValueSpan, CultureInfo.InvariantCulture))];

    /// <summary>Fills disks with patterns through vhostd, and reads them back: disk n with the seed plus n.</summary>
    /// <param name="memory">The front-end's memory: ram, huge, or a file.</param>
    /// <param name="seed">The first seed.</param>
    /// <param name="disks">The disks; all if none is named.</param>
    public Task<string> FillAsync(string memory, uint seed, params IReadOnlyList<ApplianceDisk> disks) =>
        ClientAsync("fill", memory, (disks.Count == 0 ? Disks : disks).Select(d => (d, seed + (uint)d.Target)));

    /// <summary>Reads disks through vhostd, and compares.</summary>
    /// <param name="memory">The front-end's memory: ram, huge, or a file.</param>
    /// <param name="disks">The disks with their seeds.</param>
    public Task<string> CheckAsync(string memory, params IEnumerable<(ApplianceDisk Disk, uint Seed)> disks) => ClientAsync("check", memory, disks);

    /// <summary>Pulls the second disk of the HBA out, and waits until vhostd withdrew its bdev.</summary>
    public async Task UnplugSecondDiskAsync()
    {
        await Guest.Qmp.ExecuteAsync("device_del", new JsonObject { ["id"] = "disk1" });
        await Deadline.UntilAsync("the disk is withdrawn", EventTimeout, async () => (await ReadLogAsync()).Contains("bdev VirtioScsi0t1: withdrawn", StringComparison.Ordinal));
    }

    /// <summary>Puts the second disk of the HBA back, and waits until vhostd published its bdev again.</summary>
    public async Task PlugSecondDiskAsync()
    {
        int before = Published(await ReadLogAsync());
        await Guest.Qmp.ExecuteAsync(
            "device_add", new JsonObject { ["driver"] = "scsi-hd", ["id"] = "disk1", ["drive"] = "drive1", ["bus"] = "hba.0", ["scsi-id"] = 1 });
        await Deadline.UntilAsync("the disk is published", EventTimeout, async () => Published(await ReadLogAsync()) > before);

        static int Published(string log) => log.Split("bdev VirtioScsi0t1: 32768 blocks").Length;
    }

    /// <summary>Compares all images with what <see cref="FillAsync"/> wrote.</summary>
    public void AssertImagesHold(uint seed) => Assert.All(Disks, d => d.AssertHolds(seed + (uint)d.Target));

    /// <inheritdoc/>
    public string Diagnose() => $"--- vhostd in the appliance, as last read\n{ChildProcess.Tail(_lastLog)}\n--- reads carried out\n{string.Join(' ', _reads.Split(' ').TakeLast(200))}";

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    [GeneratedRegex(@"released; (\d+) transfers")]
    private static partial Regex Bounced();

    private static string[] NvmeArguments(string place) =>
    [
        "-device", $"nvme,id=nvme,serial=appliance,{place}",
        "-device", "nvme-ns,id=ns1,drive=drive2,bus=nvme,logical_block_size=512,physical_block_size=512",
        "-device", "nvme-ns,id=ns2,drive=drive3,bus=nvme,logical_block_size=4096,physical_block_size=4096",
    ];

    private async Task<bool> HasEndedAsync() => (await Guest.RunAsync("[ -e /run/vhostd.exit ]")).ExitCode == 0;

    private async Task<string> ClientAsync(string verb, string memory, IEnumerable<(ApplianceDisk Disk, uint Seed)> disks)
    {
        string list = string.Join(' ', disks.Select(d => $"{d.Disk.Target}:{d.Seed}"));
        CommandResult result = await Guest.RunAsync($"/app/client/appliance-client {verb} {Socket} {memory} {list}", TimeSpan.FromSeconds(180));
        await ReadLogAsync();
        return result.ExitCode == 0 ? result.Output : throw new EndToEndException($"{verb} {memory} {list}: {result.Output}");
    }
}
