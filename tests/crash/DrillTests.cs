using System.Diagnostics;
using System.Text.Json.Nodes;
using Vhost.Testing.FrontEnd;

namespace Vhost.Crash.Tests;

/// <summary>The bdevs <c>delay</c> and <c>error</c>, as an operator uses them.</summary>
public sealed class DrillTests
{
    private const int Block = 4096;

    [Fact]
    public async Task A_delay_bdev_adds_the_time_of_each_type_of_operation() =>
        await ServeAsync(
            new JsonObject { ["type"] = "delay", ["bdev"] = "Below", ["readAverageUs"] = 30_000, ["writeAverageUs"] = 500, ["flushAverageUs"] = 80_000 },
            (queue, requests) =>
            {
                Assert.True(Milliseconds(() => requests.Execute(queue, 0, isWrite: true, 0, Block)) >= 0.5);
                Assert.True(Milliseconds(() => requests.Execute(queue, 0, isWrite: false, 0, Block)) >= 30);
                Assert.True(requests.TryAddFlush(queue.Ring, 0));
                Assert.True(Milliseconds(() => BlockRequests.Complete(queue, 60_000) == 0 && requests.IsSuccess(0)) >= 80);

                // They wait side by side.
                for (int slot = 0; slot < 8; slot++)
                {
                    Assert.True(requests.TryAdd(queue.Ring, slot, isWrite: false, (ulong)slot, Block));
                }

                var seen = new HashSet<int>();
                while (seen.Count < 8)
                {
                    Assert.True(seen.Add(BlockRequests.Complete(queue, 60_000)));
                }
            });

    [Fact]
    public async Task One_of_a_hundred_reads_gets_the_long_delay() =>
        await ServeAsync(
            new JsonObject { ["type"] = "delay", ["bdev"] = "Below", ["readP99Us"] = 50_000 },
            (queue, requests) =>
            {
                int slow = Enumerable.Range(0, 600).Count(_ => Milliseconds(() => requests.Execute(queue, 0, isWrite: false, 0, Block)) >= 50);
                Assert.InRange(slow, 1, 100);
            });

    [Fact]
    public async Task Errors_hit_what_their_rules_say_and_nothing_else() =>
        await ServeAsync(
            new JsonObject
            {
                ["type"] = "error",
                ["bdev"] = "Below",
                ["rules"] = new JsonArray(
                    new JsonObject { ["operation"] = "read", ["startBlock"] = 64, ["blockCount"] = 8 },
                    new JsonObject { ["operation"] = "write", ["startBlock"] = 128, ["blockCount"] = 8, ["count"] = 2, ["skip"] = 1, ["status"] = "noSpace" },
                    new JsonObject { ["operation"] = "read", ["startBlock"] = 256, ["blockCount"] = 8, ["action"] = "corrupt" },
                    new JsonObject { ["operation"] = "write", ["startBlock"] = 512, ["blockCount"] = 8, ["action"] = "corrupt", ["count"] = 1 }),
            },
            (queue, requests) =>
            {
                bool Read(ulong block) => requests.Execute(queue, 0, isWrite: false, block, Block);
                bool Write(ulong block, byte value)
                {
                    requests.Data(0).Span[..Block].Fill(value);
                    return requests.Execute(queue, 0, isWrite: true, block, Block);
                }

                Assert.True(Read(56));
                Assert.False(Read(60));
                Assert.False(Read(64));
                Assert.True(Read(72));
                Assert.True(Write(64, 1));
                Assert.Equal([true, false, false, true], Enumerable.Range(0, 4).Select(_ => Write(128, 2)));

                Assert.True(Write(256, 0x55));
                Assert.True(Read(256));
                Assert.Equal(0x55 ^ 0xff, requests.Data(0).Span[0]);
                Assert.Equal(0x55, requests.Data(0).Span[1]);

                Assert.True(Write(512, 0x66));
                Assert.Equal(0x66, requests.Data(0).Span[0]);
                Assert.True(Read(512));
                Assert.Equal(0x66 ^ 0xff, requests.Data(0).Span[0]);
                Assert.True(Write(512, 0x77));
                Assert.True(Read(512));
                Assert.Equal(0x77, requests.Data(0).Span[0]);
            });

    [Fact]
    public async Task A_flush_fails_as_often_as_its_rule_says() =>
        await ServeAsync(
            new JsonObject { ["type"] = "error", ["bdev"] = "Below", ["rules"] = new JsonArray(new JsonObject { ["operation"] = "flush", ["count"] = 2 }) },
            (queue, requests) => Assert.Equal(
                [false, false, true],
                Enumerable.Range(0, 3).Select(_ => requests.TryAddFlush(queue.Ring, 0) && BlockRequests.Complete(queue, 60_000) == 0 && requests.IsSuccess(0))));

    [Fact]
    public async Task A_share_of_the_requests_fails()
    {
        await ServeAsync(
            new JsonObject { ["type"] = "error", ["bdev"] = "Below", ["rules"] = new JsonArray(new JsonObject { ["operation"] = "read", ["percent"] = 30, ["status"] = "timedOut" }) },
            (queue, requests) =>
            {
                int failed = Enumerable.Range(0, 300).Count(_ => !requests.Execute(queue, 0, isWrite: false, 0, Block));
                Assert.InRange(failed, 30, 170);
            });
    }

    [Fact]
    public async Task Wrong_rules_are_refused_with_their_place()
    {
        await using var scenario = new Scenario();
        string file = scenario.FilePath("manifest.json");
        JsonObject manifest = new ManifestBuilder().Malloc("Below", 8)
            .Bdev("Bad", "error", new JsonObject { ["bdev"] = "Below", ["rules"] = new JsonArray(new JsonObject { ["operation"] = "flush", ["action"] = "corrupt" }) })
            .Bdev("Slow", "delay", new JsonObject { ["bdev"] = "Bad", ["readAverageUs"] = 10, ["readP99Us"] = 5 })
            .Blk("vhost.0", scenario.FilePath("s"), "Slow").Build();
        await File.WriteAllTextAsync(file, manifest.ToJsonString(), TestContext.Current.CancellationToken);
        using var vhostd = ChildProcess.Start("vhostd", Path.Combine(TestEnvironment.VhostdDirectory, "vhostd"), ["validate", file]);
        Assert.True(vhostd.WaitForExit(TimeSpan.FromSeconds(120)));
        Assert.Equal(2, vhostd.ExitCode);
        string output = vhostd.StandardOutput + vhostd.StandardError;
        Assert.Contains("only the data of a read or a write can be corrupted", output, StringComparison.Ordinal);
        Assert.Contains("5 is less than the 10", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_hanging_request_holds_its_guest_up_and_nobody_else()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string hung = scenario.FilePath("hung.sock");
            string other = scenario.FilePath("other.sock");
            VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, new ManifestBuilder().Malloc("Below", 8).Malloc("Other", 8)
                .Bdev("Hangs", "error", new JsonObject { ["bdev"] = "Below", ["rules"] = new JsonArray(new JsonObject { ["operation"] = "read", ["action"] = "hang", ["count"] = 1 }) })
                .Blk("vhost.0", hung, "Hangs").Blk("vhost.1", other, "Other").Build());
            await Task.Run(() =>
            {
                using var memory = new GuestMemory(0, 2 << 20, 2 << 20);
                using var device = FrontEndDevice.Connect(hung, memory, new FrontEndOptions());
                var requests = new VirtioBlkRequests(device, 4, Block);
                FrontEndQueue queue = device.RequestQueue(0);
                Assert.True(requests.TryAdd(queue.Ring, 1, isWrite: false, 0, Block));
                queue.Publish();
                Assert.True(requests.Execute(queue, 0, isWrite: true, 8, Block));
                Assert.True(requests.Execute(queue, 2, isWrite: false, 8, Block));
                using var otherMemory = new GuestMemory(0, 2 << 20);
                using var otherDevice = FrontEndDevice.Connect(other, otherMemory, new FrontEndOptions());
                Assert.True(new VirtioBlkRequests(otherDevice, 1, Block).Execute(otherDevice.RequestQueue(0), 0, isWrite: true, 0, Block));
                otherDevice.Stop();
            });
            Assert.Equal(0, vhostd.Stop(TimeSpan.FromSeconds(60)));
        });
    }

    private static async Task ServeAsync(JsonObject bdev, Action<FrontEndQueue, VirtioBlkRequests> body)
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string socket = scenario.FilePath("s");
            string type = (string)bdev["type"]!;
            VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, new ManifestBuilder().Malloc("Below", 8).Bdev("Drill", type, bdev).Blk("vhost.0", socket, "Drill").Build());
            await Task.Run(() =>
            {
                using var memory = new GuestMemory(0, 2 << 20);
                using var device = FrontEndDevice.Connect(socket, memory, new FrontEndOptions());
                body(device.RequestQueue(0), new VirtioBlkRequests(device, 8, Block));
                device.Stop();
            });
            Assert.Equal(0, vhostd.Stop(TimeSpan.FromSeconds(60)));
        });
    }

    private static double Milliseconds(Func<bool> action)
    {
        long start = Stopwatch.GetTimestamp();
        Assert.True(action());
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
    }
}
