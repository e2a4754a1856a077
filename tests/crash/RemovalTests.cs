using System.Net.Sockets;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vhost.Testing.FrontEnd;

namespace Vhost.Crash.Tests;

/// <summary>A disk is removed by RPC while a write hangs in it: the caller is told, and nobody gets its name before the write has returned.</summary>
public sealed class RemovalTests
{
    private static readonly JsonSerializerOptions Readable = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    [Fact]
    public async Task A_removal_under_a_write_that_hangs_is_answered_by_busy_and_its_name_is_free_when_that_has_returned()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string fifo = scenario.FilePath("fifo");
            using (ChildProcess make = ChildProcess.Start("mkfifo", "mkfifo", [fifo]))
            {
                Assert.True(make.WaitForExit(TimeSpan.FromSeconds(60)));
            }

            string socket = scenario.FilePath("s");
            string rpc = scenario.FilePath("rpc.sock");
            JsonObject manifest = new ManifestBuilder().Bdev("Hangs", "hanging", new() { ["fifo"] = fifo }).Blk("vhost.0", socket, "Hangs").Build();
            manifest["rpc"] = new JsonObject { ["socket"] = rpc };
            VhostdProcess vhostd = await VhostdProcess.StartAsync(
                scenario, manifest, ["--plugins", Path.Combine(TestEnvironment.VhostdDirectory, "plugins"), "--plugins", Path.Combine(AppContext.BaseDirectory, "fixtures")]);
            await Task.Run(async () =>
            {
                using (var memory = new GuestMemory(0, 4 << 20))
                using (var device = FrontEndDevice.Connect(socket, memory, new FrontEndOptions()))
                {
                    var requests = new VirtioBlkRequests(device, 1, 4096);
                    Assert.True(requests.TryAdd(device.RequestQueue(0).Ring, 0, isWrite: true, 0, 512));
                    device.RequestQueue(0).Publish();
                    await Deadline.UntilAsync("the write hangs", TimeSpan.FromSeconds(60), () => File.Exists(fifo + ".waits"));
                }

                // The guest goes, then the controller; what hangs stays.
                await Deadline.UntilAsync(
                    "the controller is deleted", TimeSpan.FromSeconds(60), () => Call(rpc, "vhost_delete_controller", new() { ["ctrlr"] = "vhost.0" })["result"] is not null);
                JsonNode error = Call(rpc, "delete_bdev", new() { ["name"] = "Hangs" })["error"]!;
                Assert.Equal("Device or resource busy", (string?)error["message"]);
                Assert.StartsWith("\"Hangs\" was removed, but not all of it has ended: 1 writes of bdev 'Hangs'", (string?)error["data"], StringComparison.Ordinal);

                // It is gone, but its name is not free.
                JsonObject other = new() { ["name"] = "Hangs", ["num_blocks"] = 2048, ["block_size"] = 512 };
                Assert.Contains("'Hangs' was removed", Call(rpc, "bdev_malloc_create", other)["error"]!.ToJsonString(Readable), StringComparison.Ordinal);

                // The write returns.
                using (new FileStream(fifo, FileMode.Open, FileAccess.Write))
                {
                }

                await Deadline.UntilAsync(
                    "the name is free", TimeSpan.FromSeconds(60),
                    () => Call(rpc, "bdev_malloc_create", other)["result"] is not null);
                Assert.True((bool)Call(rpc, "delete_bdev", new() { ["name"] = "Hangs" })["result"]!);
            });
            Assert.Equal(0, vhostd.Stop(TimeSpan.FromSeconds(60)));
        });
    }

    private static JsonNode Call(string path, string method, JsonObject parameters)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 60_000, SendTimeout = 60_000 };
        socket.Connect(new UnixDomainSocketEndPoint(path));
        socket.Send(Encoding.UTF8.GetBytes(new JsonObject { ["jsonrpc"] = "2.0", ["id"] = 1, ["method"] = method, ["params"] = parameters.DeepClone() }.ToJsonString()));
        var answer = new StringBuilder();
        var buffer = new byte[65536];
        do
        {
            int received = socket.Receive(buffer);
            Assert.True(received > 0, $"the connection was closed instead of an answer to {method}");
            answer.Append(Encoding.UTF8.GetString(buffer, 0, received));
        }
        while (!answer.ToString().Contains('\n', StringComparison.Ordinal));

        return JsonNode.Parse(answer.ToString())!;
    }
}
