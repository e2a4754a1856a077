using System.Text.Json.Nodes;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.ScsiEndToEnd.Tests;

/// <summary>Two Linux guests on QEMU 11.1 that share a SCSI disk, the first of which has the conformance suite, and a disk in memory for itself.</summary>
public sealed class TwoGuestsTests : IAsyncLifetime
{
    private const string TestUnitReady = "sg_raw /dev/sg0 00 00 00 00 00 00";

    // Kernels name the disks of a controller in the order in which they come to it; the generic devices have the order of the targets.
    private const string SharedDisk = "$(ls /sys/class/scsi_generic/sg0/device/block)";
    private const string Write = $"dd if=/dev/urandom of=/dev/{SharedDisk} bs=4096 count=1 oflag=direct";
    private const string Read = $"dd if=/dev/{SharedDisk} of=/dev/null bs=4096 count=1 iflag=direct";

    private readonly Scenario _scenario = new();
    private JsonObject _manifest = null!;
    private VhostdProcess _vhostd = null!;
    private GuestVm _a = null!;
    private GuestVm _b = null!;

    public async ValueTask InitializeAsync() => await _scenario.WatchAsync(async () =>
    {
        string[] sockets = [_scenario.FilePath("a.sock"), _scenario.FilePath("b.sock")];
        _manifest = new ManifestBuilder()
            .File("File0", Disk.Create(_scenario.FilePath("disk.img"), 64)).Shared("File0").Malloc("Mem0", 16)
            .Scsi("vhost.0", sockets[0], "File0", "Mem0").Scsi("vhost.1", sockets[1], "File0").Build();
        foreach (KeyValuePair<string, JsonNode?> controller in _manifest["controllers"]!.AsObject())
        {
            controller.Value!["reservations"] = _scenario.FilePath("reservations");
        }

        _vhostd = await VhostdProcess.StartAsync(_scenario, _manifest);
        GuestVmOptions Options(int i, params string[] arguments) => new()
        {
            Qemu = QemuRelease.Trixie, Disks = [VhostUserDevice.Scsi(sockets[i], reconnect: true)], ExtraArguments = arguments,
        };
        Task<GuestVm> first = GuestVm.StartAsync(
            _scenario,
            Options(0, "-drive", $"file={ConformanceImage.FilePath},format=raw,if=none,id=suite,read-only=on", "-device", "virtio-blk-pci,drive=suite"),
            "guest-a");
        _a = await first;
        _b = await GuestVm.StartAsync(_scenario, Options(1), "guest-b");
        await Task.WhenAll(_a.CheckAsync("wait-disks 3 120", TimeSpan.FromSeconds(180)), _b.CheckAsync("wait-disks 1 60", TimeSpan.FromSeconds(90)));
        await _a.CheckAsync("modprobe ext4; mkdir -p /mnt/suite && mount -t ext4 -o ro,noload /dev/vda /mnt/suite");
    });

    public ValueTask DisposeAsync() => _scenario.DisposeAsync();

    // The one test does all of it, because the guests take longer to boot than it takes.
    [Fact]
    public async Task A_disk_conforms_and_two_guests_share_it_as_initiators_do() => await _scenario.WatchAsync(async () =>
    {
        // The suite through the guest's kernel. What it changes is told to the other guest: the mode parameters, at least.
        await ConformsAsync("/dev/sg0");
        Assert.Contains("Mode parameters changed", await AttentionsAsync(_b), StringComparison.OrdinalIgnoreCase);
        await _b.CheckAsync(TestUnitReady);

        // The disk in memory has atomic writes, so that the suite has rules for it that it has not for the other.
        Assert.Contains("Maximum atomic transfer length: 2048", await _a.CheckAsync("sg_vpd -p bl /dev/sg1"), StringComparison.Ordinal);
        await ConformsAsync("/dev/sg1");

        await SettingsAreSharedAsync();
        await AGrowingDiskGrowsForBothAsync();
        await ReservationsAreToldAsync();
        await ReservationsOutliveACrashAsync();
    });

    private async Task ConformsAsync(string disk)
    {
        string suite = await _a.CheckAsync($"/mnt/suite/scsi-conformance {disk}", TimeSpan.FromSeconds(180));
        Assert.Contains($"{disk}: ", suite, StringComparison.Ordinal);
        Assert.Contains(" 0 failures", suite, StringComparison.Ordinal);
        TestContext.Current.SendDiagnosticMessage(suite.Trim());
    }

    // What is pending at a guest's nexus, until there is nothing more: there are eleven conditions.
    private static Task<string> AttentionsAsync(GuestVm guest)
        => guest.CheckAsync($"for i in 1 2 3 4 5 6 7 8 9 10 11 12; do {TestUnitReady} 2>&1 && exit 0; done; exit 1");

    private async Task SettingsAreSharedAsync()
    {
        // One guest protects the disk by software; the other is told, and cannot write either.
        const string Protect = "printf '\\000\\000\\000\\000\\012\\012\\040\\020\\{0}\\000\\000\\000\\377\\377\\000\\000' | sg_raw -s 16 /dev/sg0 15 10 00 00 10 00";
        await _a.CheckAsync(string.Format(System.Globalization.CultureInfo.InvariantCulture, Protect, "010"));
        Assert.Contains("Mode parameters changed", await AttentionsAsync(_b), StringComparison.OrdinalIgnoreCase);
        Assert.NotEqual(0, (await _b.RunAsync(Write)).ExitCode);
        await _a.CheckAsync(string.Format(System.Globalization.CultureInfo.InvariantCulture, Protect, "000"));
        await AttentionsAsync(_b);
        await _b.CheckAsync(Write);

        // A reset of the unit by one is an event for both.
        await _a.CheckAsync("sg_reset -d /dev/sg0");
        Assert.Contains("device reset", await AttentionsAsync(_b), StringComparison.OrdinalIgnoreCase);
        await AttentionsAsync(_a);
    }

    private async Task AGrowingDiskGrowsForBothAsync()
    {
        await using (FileStream image = File.Open(_scenario.FilePath("disk.img"), FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
        {
            image.SetLength(96 << 20);
        }

        // Nobody asks the guests to look again: they are told.
        foreach (GuestVm guest in (GuestVm[])[_a, _b])
        {
            await Deadline.UntilAsync("the disk has 96 MiB", TimeSpan.FromSeconds(120), async () => (await guest.CheckAsync($"cat /sys/block/{SharedDisk}/size")).Trim() == "196608");
            await AttentionsAsync(guest);
        }
    }

    private async Task ReservationsAreToldAsync()
    {
        await _a.CheckAsync("sg_persist --out --register --param-sark=0xa /dev/sg0");
        await _b.CheckAsync("sg_persist --out --register --param-sark=0xb /dev/sg0");
        await _a.CheckAsync("sg_persist --out --reserve --param-rk=0xa --prout-type=6 /dev/sg0");
        await _a.CheckAsync("sg_persist --out --release --param-rk=0xa --prout-type=6 /dev/sg0");
        Assert.Contains("Reservations released", await AttentionsAsync(_b), StringComparison.OrdinalIgnoreCase);
        await _a.CheckAsync("sg_persist --out --reserve --param-rk=0xa --prout-type=1 /dev/sg0");
        Assert.NotEqual(0, (await _b.RunAsync(Write)).ExitCode);
        await _b.CheckAsync("sg_persist --out --preempt-abort --param-rk=0xb --param-sark=0xa --prout-type=1 /dev/sg0");
        Assert.Contains("Registrations preempted", await AttentionsAsync(_a), StringComparison.OrdinalIgnoreCase);
        Assert.NotEqual(0, (await _a.RunAsync(Write)).ExitCode);
        await _b.CheckAsync(Write);
        await _a.CheckAsync("sg_persist --out --register --param-sark=0xa /dev/sg0");
        await _a.CheckAsync("sg_persist --out --clear --param-rk=0xa /dev/sg0");
        Assert.Contains("Reservations preempted", await AttentionsAsync(_b), StringComparison.OrdinalIgnoreCase);
        await Task.WhenAll(_a.CheckAsync(Write), _b.CheckAsync(Write));
    }

    private async Task ReservationsOutliveACrashAsync()
    {
        await _a.CheckAsync("sg_persist --out --register --param-sark=0xa --param-aptpl /dev/sg0");
        await _a.CheckAsync("sg_persist --out --reserve --param-rk=0xa --prout-type=3 /dev/sg0");
        _vhostd.Kill();
        _vhostd = await VhostdProcess.StartAsync(_scenario, _manifest);

        // Both guests are connected again when they are told of it.
        foreach (GuestVm guest in (GuestVm[])[_a, _b])
        {
            await Deadline.UntilAsync("the guest reaches the disk again", TimeSpan.FromSeconds(120), async () => (await guest.RunAsync(TestUnitReady, TimeSpan.FromSeconds(60))).ExitCode == 0);
        }

        Assert.NotEqual(0, (await _b.RunAsync(Read)).ExitCode);
        Assert.NotEqual(0, (await _b.RunAsync(Write)).ExitCode);
        await _a.CheckAsync(Write);
        await _a.CheckAsync("sg_persist --out --clear --param-rk=0xa /dev/sg0");
        await AttentionsAsync(_b);
        await _b.CheckAsync(Write);
    }
}
