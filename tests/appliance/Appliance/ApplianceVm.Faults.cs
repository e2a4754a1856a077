using System.Globalization;
using System.Text.Json.Nodes;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.Appliance.Tests;

/// <summary>What the tests of killed processes do to an appliance: slow namespaces, reads that wait in them, memory that is watched.</summary>
internal sealed partial class ApplianceVm
{
    private const string HoldDirectory = "/run/hold";

    private string _reads = "";

    /// <summary>Lets a namespace serve this many bytes a second; 0 takes the limit away, and what waits is served at once.</summary>
    public async Task ThrottleAsync(string ns, long bytesPerSecond) => await Guest.Qmp.ExecuteAsync("block_set_io_throttle", new JsonObject
    {
        ["id"] = ns, ["bps"] = bytesPerSecond, ["bps_rd"] = 0, ["bps_wr"] = 0, ["iops"] = 0, ["iops_rd"] = 0, ["iops_wr"] = 0,
    });

    /// <summary>Reads that QEMU has carried out for a namespace since it started.</summary>
    public async Task<long> CompletedReadsAsync(string ns)
    {
        JsonArray all = (JsonArray)(await Guest.Qmp.ExecuteAsync("query-blockstats"))!;
        JsonNode stats = all.Single(d => ((string?)d!["qdev"] ?? "").Split('/').Contains(ns))!["stats"]!;
        long reads = (long)stats["rd_operations"]! + (long)stats["failed_rd_operations"]!;
        _reads = $"{_reads} {ns}:{reads}";
        return reads;
    }

    /// <summary>Starts to read disks whose namespaces are slow, eight reads of 128 KiB each, and waits until all are submitted and stuck.</summary>
    public async Task ReadSlowlyAsync(params (ApplianceDisk Disk, string Namespace)[] disks)
    {
        long[] before = await CountsAsync();
        await Guest.CheckAsync(
            $"""
            rm -f /run/slow.log
            (/app/client/appliance-client read {Socket} ram {string.Join(' ', disks.Select(d => d.Disk.Target))} > /run/slow.log 2>&1 & echo $! > /run/slow.pid) > /dev/null 2>&1
            """);
        await Deadline.UntilAsync("the reads are submitted", StartTimeout, async () =>
            (await Guest.CheckAsync("cat /run/slow.log")).Contains($"submitted {8 * disks.Length}\n", StringComparison.Ordinal));

        // The first pass, as a limit allows a burst. Then nothing moves.
        long[] last = before;
        int still = 0;
        await Deadline.UntilAsync("the reads are stuck", StartTimeout, async () =>
        {
            await Task.Delay(TimeSpan.FromMilliseconds(100));
            long[] now = await CountsAsync();
            still = now.SequenceEqual(last) && now.Zip(before).All(c => c.First > c.Second) ? still + 1 : 0;
            last = now;
            return still == 10;
        });
        Assert.All(last.Zip(before), c => Assert.InRange(c.First - c.Second, 1, 7));
        Assert.DoesNotContain("completed", await Guest.CheckAsync("cat /run/slow.log"), StringComparison.Ordinal);

        async Task<long[]> CountsAsync()
        {
            var counts = new List<long>();
            foreach ((_, string ns) in disks)
            {
                counts.Add(await CompletedReadsAsync(ns));
            }

            return [.. counts];
        }
    }

    /// <summary>Ends vhostd, and the client that reads through it, by SIGKILL.</summary>
    public async Task KillWithClientAsync()
    {
        _reads += " kill";
        await KillVhostdAsync();
        _reads += " killed";
        await Guest.CheckAsync("kill -KILL $(cat /run/slow.pid)");
    }

    /// <summary>Fills the guest's free memory, all huge pages among it, with a pattern.</summary>
    /// <param name="reserveMiB">Ordinary memory that is left free.</param>
    public async Task HoldMemoryAsync(int reserveMiB)
    {
        await Guest.CheckAsync(
            $"""
            rm -rf {HoldDirectory} && mkdir {HoldDirectory}
            sync; echo 3 > /proc/sys/vm/drop_caches
            (/app/client/appliance-client hold {HoldDirectory} {reserveMiB} > {HoldDirectory}/log 2>&1; touch {HoldDirectory}/ended) > /dev/null 2>&1 &
            """);
        await Guest.CheckAsync(
            $"cd {HoldDirectory}; for i in $(seq 800); do [ -e ready ] && exit 0; [ -e ended ] && break; sleep 0.1; done; cat log; exit 1", StartTimeout);
        Assert.Equal("0", (await Guest.CheckAsync("cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")).Trim());
    }

    /// <summary>What became of the memory that was filled.</summary>
    public Task<string> CheckMemoryAsync() => Guest.CheckAsync(
        $"""
        cd {HoldDirectory}; rm -f result; touch check
        for i in $(seq 500); do [ -e result ] && break; [ -e ended ] && cat log && exit 1; sleep 0.1; done
        cat result
        """);

    /// <summary>Gives the filled memory back.</summary>
    public Task ReleaseMemoryAsync() =>
        Guest.CheckAsync($"cd {HoldDirectory}; touch end; for i in $(seq 300); do [ -e ended ] && exit 0; sleep 0.1; done; exit 1");

    /// <summary>Whether a device may do DMA.</summary>
    public async Task<bool> IsBusMasterAsync(string device) => (int.Parse(
        (await Guest.CheckAsync($"dd if=/sys/bus/pci/devices/{device}/config bs=1 skip=4 count=1 2>/dev/null | od -An -tu1")).Trim(), CultureInfo.InvariantCulture) & 4) != 0;

    /// <summary>Huge pages of a process that is gone, in whole directories.</summary>
    public async Task<string[]> LeftDirectoriesAsync() =>
        (await Guest.CheckAsync("ls -d /dev/hugepages/vhostd-* 2>/dev/null || true")).Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
