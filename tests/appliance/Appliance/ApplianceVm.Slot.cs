using System.Globalization;
using System.Text.Json.Nodes;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.Appliance.Tests;

/// <summary>An NVMe controller that is pulled out of its slot and put back, under reads.</summary>
internal sealed partial class ApplianceVm
{
    private const string Report = "/run/endure";

    // The guest's hot-plug driver blinks for five seconds before it lets go, and emulated time is slow.
    private static readonly TimeSpan SlotTimeout = TimeSpan.FromSeconds(180);

    /// <summary>Starts to read two disks over and over.</summary>
    /// <param name="steady">The disk that stays; a failure ends the reads.</param>
    /// <param name="fleeting">The disk that comes and goes.</param>
    /// <param name="seed">The first seed, as they were filled.</param>
    public async Task StartEnduranceAsync(ApplianceDisk steady, ApplianceDisk fleeting, uint seed)
    {
        await Guest.CheckAsync(
            $"""
            rm -f {Report} {Report}.end {Report}.exit
            (/app/client/appliance-client endure {Socket} ram {steady.Target}:{seed + (uint)steady.Target} {fleeting.Target}:{seed + (uint)fleeting.Target} {Report} > {Report}.log 2>&1
             echo $? > {Report}.exit) > /dev/null 2>&1 &
            """);
        await WaitForReadsAsync("reads of both disks", c => c.Steady > 0 && c.Fleeting > 0);
    }

    /// <summary>Waits until reads went as they should; throws when the client ended.</summary>
    public async Task<(long Steady, long Fleeting, long Failed)> WaitForReadsAsync(string what, Func<(long Steady, long Fleeting, long Failed), bool> condition)
    {
        (long Steady, long Fleeting, long Failed) counts = default;
        await Deadline.UntilAsync(what, SlotTimeout, async () =>
        {
            counts = await ReadCountsAsync();
            return condition(counts);
        });
        return counts;
    }

    /// <summary>Reads of the steady disk, of the fleeting one, and failed ones of that, so far.</summary>
    public async Task<(long Steady, long Fleeting, long Failed)> ReadCountsAsync()
    {
        string text = await Guest.CheckAsync($"[ ! -e {Report}.exit ] || {{ cat {Report}.log; exit 1; }}; cat {Report} 2>/dev/null || echo 0 0 0");
        long[] counts = [.. text.Trim().Split(' ').Select(c => long.Parse(c, CultureInfo.InvariantCulture))];
        return (counts[0], counts[1], counts[2]);
    }

    /// <summary>Ends the reads; none of the steady disk may have failed, and no data may have been wrong.</summary>
    public async Task StopEnduranceAsync() => Assert.Equal(
        "0", (await Guest.CheckAsync($"touch {Report}.end; for i in $(seq 500); do [ -e {Report}.exit ] && break; sleep 0.1; done; cat {Report}.exit")).Trim());

    /// <summary>Pulls the NVMe controller out of its slot, and waits until it is gone and vhostd has withdrawn its bdev.</summary>
    public async Task UnplugNvmeAsync()
    {
        await Guest.Qmp.ExecuteAsync("device_del", new JsonObject { ["id"] = "nvme" });
        await Guest.Qmp.WaitForEventAsync("DEVICE_DELETED", SlotTimeout);
        await Deadline.UntilAsync("the namespace is withdrawn", SlotTimeout, async () => (await ReadLogAsync()).Contains("bdev NVMe1n1: withdrawn", StringComparison.Ordinal));
    }

    /// <summary>Puts it back, binds it as its user would, and waits until vhostd published its bdev again.</summary>
    public async Task PlugNvmeAsync()
    {
        await Guest.Qmp.ExecuteAsync("device_add", new JsonObject
        {
            ["driver"] = "nvme", ["id"] = "nvme", ["serial"] = "appliance", ["bus"] = "nvmeslot", ["drive"] = "drive2",
        });
        await Guest.CheckAsync($"for i in $(seq 500); do [ -e /sys/bus/pci/devices/{NvmeAddress} ] && exit 0; sleep 0.1; done; exit 1", SlotTimeout);
        await Guest.CheckAsync($"/app/vhostd/vhostd pci bind {NvmeAddress}", StartTimeout);
        await Deadline.UntilAsync("the namespace is published", SlotTimeout, async () => (await ReadLogAsync()).Split("bdev NVMe1n1: 32768 blocks").Length == 3);
    }
}
