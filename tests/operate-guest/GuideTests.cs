using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.OperateGuest.Tests;

/// <summary>The published guide's calls by a client in another language, and live changes that a guest sees while fio runs in it.</summary>
public sealed class GuideTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);

    [Fact]
    public async Task The_guides_disks_are_there_and_live_changes_reach_the_guest_under_load()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string socket = scenario.FilePath("rpc.sock");
            string controller = scenario.FilePath("vhost.0");
            string file = Disk.Create(scenario.FilePath("disk.img"), 48);
            int[] cpus = Cpus();
            var manifest = new JsonObject
            {
                ["rpc"] = new JsonObject
                {
                    ["socket"] = socket,
                    ["defaultTransport"] = new JsonObject { ["type"] = "vhost-user", ["socket"] = scenario.FilePath("{controller}") },
                },
                ["reactors"] = new JsonObject { ["cpumask"] = $"[{string.Join(',', cpus)}]" },
                ["transports"] = new JsonObject(),
            };
            await VhostdProcess.StartAsync(scenario, manifest);
            Guide(socket, "create", file);
            GuestVm vm = await GuestVm.StartAsync(scenario, new GuestVmOptions { Disks = [VhostUserDevice.Scsi(controller, "num_queues=2")] });
            await vm.WaitForDisksAsync(3);
            await SizesAsync(vm, 48, 64, 80);
            string malloc = await DiskOfAsync(vm, 2);
            Task<string> load = vm.CheckAsync(Fio.VerifyFor($"/dev/{malloc}", 600, 16), TimeSpan.FromSeconds(300));
            await CountAsync(socket, 200, load);

            // A disk comes, grows, and goes.
            await CallAsync(socket, "bdev_malloc_create", new JsonObject { ["name"] = "Added", ["num_blocks"] = 196608, ["block_size"] = 512 });
            Assert.Equal(3, (await CallAsync(socket, "vhost_scsi_controller_add_target", new JsonObject { ["ctrlr"] = "vhost.0", ["scsi_target_num"] = -1, ["bdev_name"] = "Added" }))!.GetValue<int>());
            await SizesAsync(vm, 48, 64, 80, 96);
            await CallAsync(socket, "bdev_malloc_resize", new JsonObject { ["name"] = "Added", ["new_size"] = 112 });
            await SizesAsync(vm, 48, 64, 80, 112);
            await vm.CheckAsync(Fio.Verify($"/dev/{await DiskOfAsync(vm, 3)}", 8, more: "--offset=100M"));
            await CallAsync(socket, "bdev_null_resize", new JsonObject { ["name"] = "NVMe1n1", ["new_size"] = 88 });
            await using (FileStream image = File.Open(file, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
            {
                image.SetLength(56 << 20);
            }

            await CallAsync(socket, "bdev_aio_rescan", new JsonObject { ["name"] = "VirtioScsi0t0" });
            await SizesAsync(vm, 56, 64, 88, 112);
            await CallAsync(socket, "vhost_scsi_controller_remove_target", new JsonObject { ["ctrlr"] = "vhost.0", ["scsi_target_num"] = 3 });
            await SizesAsync(vm, 56, 64, 88);
            await CallAsync(socket, "bdev_malloc_delete", new JsonObject { ["name"] = "Added" });

            // Limits hold over the time that vhostd itself measures.
            await CallAsync(socket, "bdev_set_qos_limit", new JsonObject { ["name"] = "Malloc0", ["rw_ios_per_sec"] = 300 });
            (ulong before, double since) = await DoneAsync(socket);
            await CountAsync(socket, 600, load);
            (ulong after, double until) = await DoneAsync(socket);
            Assert.True(after - before <= (300 * (until - since) * 1.2) + 50, $"{after - before} requests in {until - since} s");
            await CallAsync(socket, "bdev_set_qos_limit", new JsonObject { ["name"] = "Malloc0", ["rw_ios_per_sec"] = 0 });

            // Interrupts are held together, and the queues go from one reactor to the other and back, while requests are under way.
            await CallAsync(socket, "vhost_controller_set_coalescing", new JsonObject { ["ctrlr"] = "vhost.0", ["delay_base_us"] = 100, ["iops_threshold"] = 100 });
            await CallAsync(socket, "bdev_enable_histogram", new JsonObject { ["name"] = "Malloc0", ["enable"] = true });
            for (int i = 0; i < 6; i++)
            {
                int cpu = cpus[i % cpus.Length];
                await CallAsync(socket, "vhost_controller_move", new JsonObject { ["ctrlr"] = "vhost.0", ["cpumask"] = $"[{cpu}]" });
                await CountAsync(socket, 100, load);
            }

            await CallAsync(socket, "vhost_controller_set_coalescing", new JsonObject { ["ctrlr"] = "vhost.0", ["delay_base_us"] = 0, ["iops_threshold"] = 60000 });
            byte[] histogram = Convert.FromBase64String((await CallAsync(socket, "bdev_get_histogram", new JsonObject { ["name"] = "Malloc0" }))!["histogram"]!.GetValue<string>());
            Assert.True(Enumerable.Range(0, histogram.Length / 8).Sum(i => BitConverter.ToInt64(histogram, i * 8)) >= 600);

            // Clients that send nonsense, too much, or far too often are none of the guest's business.
            await StormAsync(socket);
            await CountAsync(socket, 100, load);
            JsonNode session = (await CallAsync(socket, "vhost_get_controllers"))![0]!["sessions"]![0]!;
            Assert.True(session["started"]!.GetValue<bool>());
            await CountAsync(socket, 100, load);
            await vm.CheckAsync("killall -INT fio");
            await load;
            Guide(socket, "look", file);
            vm.Kill();
            await Deadline.UntilAsync("vhostd lets go of the guest", Limit, async () => (await CallAsync(socket, "vhost_get_controllers"))![0]!["sessions"]!.AsArray().Count == 0);
            Guide(socket, "remove", file);
        });
    }

    private static int[] Cpus()
    {
        // "0-3" or "0,2": the first two that this process may use.
        string list = File.ReadLines("/proc/self/status").First(line => line.StartsWith("Cpus_allowed_list", StringComparison.Ordinal)).Split('\t')[1];
        return [.. list.Split(',').SelectMany(range =>
        {
            int[] ends = [.. range.Split('-').Select(end => int.Parse(end, CultureInfo.InvariantCulture))];
            return Enumerable.Range(ends[0], ends[^1] - ends[0] + 1);
        }).Take(2)];
    }

    private static void Guide(string socket, string step, string file) =>
        TestEnvironment.RunToEnd("python3", [Path.Combine(AppContext.BaseDirectory, "fixtures/guide.py"), socket, step, file], Limit);

    private static Task SizesAsync(GuestVm vm, params long[] sizesMiB) => Deadline.UntilAsync(
        $"the guest has disks of {string.Join(", ", sizesMiB)} MiB",
        Limit,
        async () => (await GuestChecks.DisksAsync(vm)).Select(disk => disk.Bytes >> 20).Order().SequenceEqual(sizesMiB));

    private static async Task<string> DiskOfAsync(GuestVm vm, int target) =>
        (await vm.CheckAsync($"for d in /sys/block/sd*; do case $(readlink -f $d/device) in *:0:{target}:0) basename $d;; esac; done")).Trim();

    /// <summary>Waits until so many more requests were done, while the load goes on.</summary>
    private static async Task CountAsync(string socket, ulong more, Task<string> load)
    {
        ulong before = (await DoneAsync(socket)).Count;
        await Deadline.UntilAsync($"{more} more requests are done", Limit, async () =>
            load.IsCompleted ? throw new EndToEndException($"fio ended early: {await load}") : (await DoneAsync(socket)).Count >= before + more);
    }

    private static Task StormAsync(string path) => Task.WhenAll(Enumerable.Range(0, 8).Select(async client =>
    {
        using var limit = new CancellationTokenSource(Limit);
        byte[] request = Encoding.UTF8.GetBytes(client switch
        {
            0 => new string('[', 10_000),
            1 => "nonsense",
            2 => "{\"x\":\"" + new string('x', 2 << 20),
            3 => "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"bdev_malloc_delete\",\"params\":{\"name\":\"Malloc0\",\"force\":true}}",
            _ => "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"bdev_get_iostat\"}",
        });
        byte[] reply = new byte[4096];
        for (int i = 0; i < 30; i++)
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), limit.Token);
                for (int sent = 0; sent < request.Length;)
                {
                    sent += await socket.SendAsync(request.AsMemory(sent), limit.Token);
                }

                await socket.ReceiveAsync(reply, limit.Token);
            }
            catch (SocketException)
            {
                // Cut off, as it deserves.
            }
        }
    }));

    private static async Task<(ulong Count, double Seconds)> DoneAsync(string socket)
    {
        JsonNode result = (await CallAsync(socket, "bdev_get_iostat", new JsonObject { ["name"] = "Malloc0" }))!;
        JsonNode bdev = result["bdevs"]![0]!;
        return (bdev["num_read_ops"]!.GetValue<ulong>() + bdev["num_write_ops"]!.GetValue<ulong>(), (double)result["ticks"]!.GetValue<long>() / result["tick_rate"]!.GetValue<long>());
    }

    private static async Task<JsonNode?> CallAsync(string path, string method, JsonObject? parameters = null)
    {
        using var limit = new CancellationTokenSource(Limit);
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), limit.Token);
        var request = new JsonObject { ["jsonrpc"] = "2.0", ["id"] = 1, ["method"] = method };
        if (parameters is not null)
        {
            request["params"] = parameters;
        }

        await socket.SendAsync(Encoding.UTF8.GetBytes(request.ToJsonString()), limit.Token);
        var reply = new MemoryStream();
        byte[] buffer = new byte[65536];
        while (reply.Length == 0 || reply.GetBuffer()[reply.Length - 1] != (byte)'\n')
        {
            int received = await socket.ReceiveAsync(buffer, limit.Token);
            Assert.True(received > 0, $"{method}: the connection was closed");
            reply.Write(buffer, 0, received);
        }

        JsonNode answer = JsonNode.Parse(reply.ToArray())!;
        return answer["error"] is { } error ? throw new EndToEndException($"{method}: {error.ToJsonString()}") : answer["result"];
    }
}
