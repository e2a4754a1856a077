using System.Text.Json.Nodes;
using Vhost.Testing.FrontEnd;
using Vhost.VhostUser;

namespace Vhost.Vvu.Tests;

/// <summary>One vhostd with several vvu devices and a unix socket beside them.</summary>
public sealed class SideBySideTests
{
    private const int BlockBytes = 4096;
    private const int Sectors = BlockBytes / 512;

    [Fact]
    public async Task Two_vvu_devices_and_a_socket_are_served_by_one_process_that_sleeps_when_idle_and_stops_when_told()
    {
        await using var first = new VvuHarness("capabilities");
        await using var second = new VvuHarness("fixed", isBlk: true);
        var directory = Path.GetDirectoryName(first.VfioUserSocket)!;
        var socket = Path.Combine(directory, "direct");
        static JsonObject Malloc() => new() { ["type"] = "malloc", ["sizeMiB"] = 8, ["blockSize"] = 512 };
        static JsonObject Vvu(VvuHarness harness) => new() { ["type"] = "vvu", ["address"] = harness.VfioUserSocket };
        var manifest = new JsonObject
        {
            ["bdevs"] = new JsonObject { ["Malloc0"] = Malloc(), ["Malloc1"] = Malloc(), ["Malloc2"] = Malloc() },
            ["transports"] = new JsonObject
            {
                ["a"] = Vvu(first), ["b"] = Vvu(second), ["c"] = new JsonObject { ["type"] = "vhost-user", ["socket"] = socket },
            },
            ["controllers"] = new JsonObject
            {
                ["vhost.0"] = new JsonObject { ["type"] = "scsi", ["transport"] = "a", ["targets"] = new JsonObject { ["0"] = "Malloc0" } },
                ["vhost.1"] = new JsonObject { ["type"] = "blk", ["transport"] = "b", ["bdev"] = "Malloc1" },
                ["vhost.2"] = new JsonObject { ["type"] = "blk", ["transport"] = "c", ["bdev"] = "Malloc2" },
            },
        };
        using var vhostd = VhostdProcess.Start(directory, manifest);
        using var memory = new GuestMemory(0, 16 << 20);
        using var a = first.Connect(isScsi: true);
        using var b = second.Connect(isScsi: false);
        using var c = FrontEndDevice.Connect(socket, memory, new FrontEndOptions { ProtocolFeatures = (ProtocolFeatures)ulong.MaxValue });
        FrontEndDevice[] devices = [a, b, c];
        await Task.WhenAll(devices.Select((device, number) => Task.Run(() => WriteAndVerify(device, number))));

        // Nobody has anything to do: counted in ticks of the processor, of which a loop would take all.
        TestContext.Current.TestOutputHelper?.WriteLine($"idle with two vvu devices, one polled, and a socket: {await ProcessorUse.WaitForIdleAsync(vhostd.Process.Id)}");

        // SIGTERM while all are connected: nobody waits for anybody.
        Assert.Equal(0, vhostd.Stop());
        foreach (var device in devices)
        {
            device.Connection.TimeoutMilliseconds = 60_000;
            device.Connection.WaitClosed();
        }
    }

    private static void WriteAndVerify(FrontEndDevice device, int number)
    {
        BlockRequests requests = number == 0 ? new VirtioScsiRequests(device, 2, BlockBytes) : new VirtioBlkRequests(device, 2, BlockBytes);
        var queue = device.RequestQueue(0);
        for (var i = 0; i < 200; i++)
        {
            requests.Data(0).Span.Fill((byte)((i * 3) + number));
            Assert.True(requests.Execute(queue, 0, isWrite: true, (ulong)(i * Sectors), BlockBytes), requests.DescribeResult(0));
        }

        for (var i = 0; i < 200; i++)
        {
            requests.Data(1).Span.Clear();
            Assert.True(requests.Execute(queue, 1, isWrite: false, (ulong)(i * Sectors), BlockBytes), requests.DescribeResult(1));
            Assert.Equal(-1, requests.Data(1).Span.IndexOfAnyExcept((byte)((i * 3) + number)));
        }
    }
}
