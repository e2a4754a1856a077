using System.Globalization;
using System.Text.Json.Nodes;
using Vhost.Appliance.Tests;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.VvuTopology.Tests;

/// <summary>The page's Appliance VM on QEMU 11.1, with vhostd in it.</summary>
internal sealed class ApplianceVm : IDiagnosable, IAsyncDisposable
{
    private const string Log = "/run/vhostd.log";

    // An emulated CPU that shares two real ones with everything else has to compile what was not compiled ahead of time.
    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(180);

    private readonly GuestVm _guest;
    private readonly bool _hasIommu;
    private string _lastLog = "";

    private ApplianceVm(GuestVm guest, bool hasIommu)
    {
        _guest = guest;
        _hasIommu = hasIommu;
    }

    /// <summary>Makes the images, boots it, and gives its devices to vhostd.</summary>
    public static async Task<ApplianceVm> StartAsync(Scenario scenario, bool hasIommu)
    {
        foreach (IReadOnlyList<string> command in Guide.Commands("images"))
        {
            TestEnvironment.RunToEnd(command[0], Guide.Arguments(command, scenario), TimeSpan.FromSeconds(120));
        }

        List<string> arguments = [.. Guide.Arguments(hasIommu ? "appliance" : "appliance-without-iommu", scenario)];
        int memoryMiB = int.Parse(Guide.Value(arguments, "-m").TrimEnd('M'), CultureInfo.InvariantCulture);
        Assert.Equal($"memory-backend-memfd,id=ram,size={memoryMiB}M,share=on", Guide.Value(arguments, "-object"));
        foreach (string given in (string[])["-m", "-object"])
        {
            arguments.RemoveRange(arguments.IndexOf(given), 2);
        }

        Assert.Contains("`intel_iommu=on hugepages=64`", Guide.Text, StringComparison.Ordinal);
        arguments.AddRange(["-drive", $"file={ApplianceImage.FilePath},format=raw,if=none,id=system,read-only=on", "-device", "virtio-blk-pci,drive=system,bus=pcie.0"]);
        GuestVm guest = await GuestVm.StartAsync(
            scenario,
            new GuestVmOptions
            {
                Qemu = QemuRelease.Trixie, MemoryMiB = memoryMiB, KernelArguments = $"{(hasIommu ? "intel_iommu=on " : "")}hugepages=64", ExtraArguments = arguments,
            },
            "appliance");
        ApplianceVm appliance = scenario.Add(new ApplianceVm(guest, hasIommu));
        await appliance.RunAsync($"mkdir -p /app; mount -o ro /dev/vda /app\n{Guide.Block(hasIommu ? "bind" : "bind-without-iommu")}");
        return appliance;
    }

    /// <summary>Runs commands as the page has them, and stops at the first that fails.</summary>
    public Task<string> RunAsync(string commands) => _guest.CheckAsync($"set -e; export PATH=/app/vhostd:$PATH; cd /run\n{commands}", StartTimeout);

    /// <summary>Starts vhostd on the page's manifest, and waits until it serves.</summary>
    public async Task StartVhostdAsync()
    {
        // Emulated time and real time differ: a command must not be given up because two test runs share this machine.
        const string patience = "--set bdevs.VirtioScsi0.timeoutSeconds=60 --set bdevs.NVMe1.timeoutSeconds=60";
        string manifest = Guide.Block("manifest");
        if (!_hasIommu)
        {
            Assert.Contains("the HBA is `0000:00:05.0` and the NVMe controller `0000:00:06.0`", Guide.Text, StringComparison.Ordinal);
            manifest = manifest.Replace("0000:21:00.0", "0000:00:05.0", StringComparison.Ordinal).Replace("0000:22:00.0", "0000:00:06.0", StringComparison.Ordinal);
        }

        await RunAsync(
            $"""
            cat > vhostd.json <<'END'
            {manifest}END
            rm -f vhostd.exit
            (set +e; {Guide.Block("vhostd").Trim()} {patience} > {Log} 2>&1 & echo $! > vhostd.pid; wait $!; echo $? > vhostd.exit) > /dev/null 2>&1 &
            """);
        await Deadline.UntilAsync("vhostd in the appliance is ready", StartTimeout, async () =>
        {
            await RunAsync("sleep 0.5");
            string log = await ReadLogAsync();
            return log.Contains("vhostd is ready", StringComparison.Ordinal)
                || ((await _guest.RunAsync("[ -e /run/vhostd.exit ]")).ExitCode == 0 ? throw new EndToEndException("vhostd in the appliance ended") : false);
        });
    }

    /// <summary>Stops vhostd by SIGTERM, which it has to follow in order and within its five seconds; where an emulated CPU is too slow for those, it has to say what it cut short.</summary>
    public async Task StopVhostdAsync()
    {
        string code = await RunAsync("kill -TERM $(cat vhostd.pid); for i in $(seq 600); do [ -e vhostd.exit ] && break; sleep 0.1; done; cat vhostd.exit");
        string log = await ReadLogAsync();
        Assert.True(code.Trim() == "0" || (code.Trim() == "1" && log.Contains("the stop was cut short", StringComparison.Ordinal)), $"exit code {code}");
    }

    /// <summary>What vhostd logged since its last start.</summary>
    public async Task<string> ReadLogAsync() => _lastLog = await _guest.CheckAsync($"cat {Log} 2>/dev/null || true");

    /// <summary>How many commands of a bdev had their data copied, by the page's own calls.</summary>
    public async Task<long> CopiedCommandsAsync(string bdev)
    {
        string call = Guide.Block("copied").Split('\n').Single(l => l.EndsWith($"name={bdev}", StringComparison.Ordinal));
        JsonNode details = JsonNode.Parse(await RunAsync(call))![0]!["driver_specific"]!.AsObject().Single().Value!;
        return long.Parse((string)details["bounced_commands"]!, CultureInfo.InvariantCulture);
    }

    /// <summary>What vhostd does in some seconds, by the kernel's count of its CPU time and its own count of what its only reactor does.</summary>
    public async Task<Idling> MeasureAsync(int seconds)
    {
        const string look = "echo $(awk '{ print $14 + $15 }' /proc/$(cat vhostd.pid)/stat); vhostd rpc vhostd_get_status --socket /run/vhostd.sock | tr -d '\n'; echo";
        string[] lines = (await RunAsync($"{look}; sleep {seconds}; {look}")).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        JsonNode[] statuses = [JsonNode.Parse(lines[1])!, JsonNode.Parse(lines[3])!];
        double elapsed = (double)statuses[1]["time_seconds"]! - (double)statuses[0]["time_seconds"]!;
        JsonNode[] reactors = [.. statuses.Select(s => s["reactors"]!.AsArray().Single()!)];
        // The kernel counts hundredths of a second.
        double cpuSeconds = (long.Parse(lines[2], CultureInfo.InvariantCulture) - long.Parse(lines[0], CultureInfo.InvariantCulture)) / 100.0;
        return new Idling(
            cpuSeconds / elapsed, ((double)reactors[1]["sleep_seconds"]! - (double)reactors[0]["sleep_seconds"]!) / elapsed, ((long)reactors[1]["polls"]! - (long)reactors[0]["polls"]!) / elapsed);
    }

    /// <inheritdoc/>
    public string Diagnose() => $"--- vhostd in the appliance, as last read\n{ChildProcess.Tail(_lastLog)}";

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
