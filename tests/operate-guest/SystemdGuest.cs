using Vhost.Appliance.Tests;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.OperateGuest.Tests;

/// <summary>Debian with systemd in a virtual machine, where vhostd is installed from its package.</summary>
internal sealed class SystemdGuest : IDiagnosable, IAsyncDisposable
{
    /// <summary>A disk of the machine that vhostd may have.</summary>
    public const string BlockDevice = "/dev/vdd";

    /// <summary>Everything takes long on an emulated CPU that shares two real ones.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(240);

    private const string Report = "/run/survivors";

    private string _lastJournal = "";

    private SystemdGuest(GuestVm vm) => Vm = vm;

    /// <summary>The machine.</summary>
    public GuestVm Vm { get; }

    /// <summary>Makes the package, boots the machine and installs it there.</summary>
    /// <param name="scenario">What it belongs to.</param>
    /// <param name="diskMiB">Size of <see cref="BlockDevice"/>.</param>
    public static async Task<SystemdGuest> StartAsync(Scenario scenario, int diskMiB)
    {
        // What an appliance runs is what a package has too: published with its own runtime.
        string image = ApplianceImage.FilePath;
        string packages = Directory.CreateDirectory(scenario.FilePath("packages")).FullName;
        string maker = Path.Combine(TestEnvironment.RepositoryRoot, "packaging", "make-deb.sh");
        TestEnvironment.RunToEnd("bash", [maker, "--from", ApplianceImage.VhostdDirectory, "--compression", "none", packages], Limit);
        string disk = scenario.FilePath("packages.img");
        TestEnvironment.RunToEnd("mke2fs", ["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", packages, disk, "256M"], Limit);
        string[] disks =
        [
            $"file={TestEnvironment.SystemdDisk},snapshot=on", $"file={image},read-only=on", $"file={disk},read-only=on",
            $"file={Disk.Create(scenario.FilePath("disk.img"), diskMiB)},cache=none",
        ];
        GuestVm vm = await GuestVm.StartAsync(
            scenario,
            new GuestVmOptions
            {
                Qemu = QemuRelease.Trixie,
                MemoryMiB = 1024,
                KernelArguments = "guest.root=vda systemd.show_status=false",
                ExtraArguments = [.. disks.SelectMany((drive, i) => (string[])["-drive", $"{drive},format=raw,if=none,id=drive{i}", "-device", $"virtio-blk-pci,drive=drive{i}"])],
            },
            "systemd");
        var guest = scenario.Add(new SystemdGuest(vm));
        Assert.Equal("running", (await vm.RunAsync("systemctl is-system-running --wait", Limit)).Output.Trim());
        // Disks belong to a group of their own where there is udev.
        await vm.CheckAsync(
            $"set -e; chgrp disk {BlockDevice}; chmod 660 {BlockDevice}; mkdir /app /packages; mount -o ro /dev/vdb /app; mount -o ro /dev/vdc /packages; dpkg --install /packages/vhostd_*.deb",
            Limit);
        return guest;
    }

    /// <summary>Writes the manifest of the service.</summary>
    public Task ConfigureAsync(string json) => Vm.CheckAsync($"cat > /etc/vhostd/vhostd.json <<'END'\n{json}\nEND");

    /// <summary>Adds to the unit.</summary>
    public Task AddDropInAsync(string name, string text) =>
        Vm.CheckAsync($"set -e; mkdir -p /etc/systemd/system/vhostd.service.d; cat > /etc/systemd/system/vhostd.service.d/{name}.conf <<'END'\n{text}\nEND\nsystemctl daemon-reload");

    /// <summary>A property of the service as systemd has it.</summary>
    public async Task<string> PropertyAsync(string name) => (await Vm.CheckAsync($"systemctl show vhostd --property={name} --value")).Trim();

    /// <summary>What the service has logged, and systemd about it.</summary>
    public async Task<string> JournalAsync() => _lastJournal = await Vm.CheckAsync("journalctl --sync; journalctl --unit=vhostd --no-pager --output=cat");

    /// <summary>Starts the load: guests as <c>appliance-client survive</c> has them.</summary>
    public Task StartLoadAsync(int places, int seed, params string[] guests) => Vm.CheckAsync(
        $"(/app/client/appliance-client survive {Report} {places} {seed} {string.Join(' ', guests)} > {Report}.log 2>&1; echo $? > {Report}.exit) > /dev/null 2>&1 &");

    /// <summary>How many requests of each guest came back, and how often it came back itself; throws when the load ended.</summary>
    public async Task<IReadOnlyList<(long Completed, long Returns)>> LoadAsync()
    {
        string text = await Vm.CheckAsync($"[ ! -e {Report}.exit ] || {{ cat {Report}.log; exit 1; }}; cat {Report} 2>/dev/null || true");
        long[] numbers = [.. text.Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries).Select(n => long.Parse(n, System.Globalization.CultureInfo.InvariantCulture))];
        return [.. numbers.Chunk(2).Select(pair => (pair[0], pair[1]))];
    }

    /// <summary>Waits until each guest came back so often and has done some work since.</summary>
    public async Task WaitForWorkAsync(int guests, long returns)
    {
        const long Work = 60;
        IReadOnlyList<(long Completed, long Returns)> since = [];
        await Deadline.UntilAsync($"all guests came back {returns} times and work", Limit, async () =>
        {
            IReadOnlyList<(long Completed, long Returns)> now = await LoadAsync();
            if (now.Count != guests || now.Any(guest => guest.Returns < returns))
            {
                return false;
            }

            since = since.Count == 0 ? now : since;
            return now.Zip(since).All(pair => pair.First.Completed >= pair.Second.Completed + Work);
        });
    }

    /// <summary>Lets the load finish and read everything back, and returns what it says of itself.</summary>
    public async Task<string> StopLoadAsync()
    {
        await Vm.CheckAsync($"touch {Report}.end; while [ ! -e {Report}.exit ]; do sleep 0.1; done", TimeSpan.FromSeconds(300));
        string log = (await Vm.CheckAsync($"cat {Report}.log")).Trim();
        Assert.True((await Vm.CheckAsync($"cat {Report}.exit")).Trim() == "0", log);
        return log;
    }

    /// <summary>Does something that makes systemd start the service again, and waits until it is another process and active.</summary>
    public async Task ExpectAnotherProcessAsync(string command)
    {
        string before = await PropertyAsync("MainPID");
        await Vm.CheckAsync(command, Limit);
        await Deadline.UntilAsync($"another vhostd is active after: {command}", Limit, async () =>
        {
            string[] now = (await Vm.CheckAsync("systemctl show vhostd --property=MainPID --property=ActiveState --value")).Split('\n', StringSplitOptions.RemoveEmptyEntries);
            return now is [var process, "active"] && process != before && process != "0";
        });
        await JournalAsync();
    }

    /// <inheritdoc/>
    public string Diagnose() => $"--- the service's journal, as last read\n{ChildProcess.Tail(_lastJournal)}";

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
