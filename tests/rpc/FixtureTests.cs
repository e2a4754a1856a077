using System.Text.Json.Nodes;

namespace Vhost.Rpc.Tests;

/// <summary>The bytes that both generations of SPDK's rpc.py send, for every method of SPDK's that there is, each with what it gets.</summary>
public sealed class FixtureTests
{
    [Theory]
    [InlineData("2019")]
    [InlineData("current")]
    public async Task Every_method_answers_what_rpc_py_sends(string generation)
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        var file = Path.Combine(host.Directory, "disk.img");
        await File.WriteAllBytesAsync(file, new byte[1 << 20], TestContext.Current.CancellationToken);
        foreach (var line in await ReadAsync(generation))
        {
            var request = line["request"]!.GetValue<string>().Replace("@FILE@", file, StringComparison.Ordinal);
            var reply = JsonNode.Parse((await client.ExchangeAsync(request))!)!.AsObject();
            Assert.Equal(1, reply["id"]!.GetValue<int>());
            if (line["error"] is JsonArray error)
            {
                Assert.True(reply.ContainsKey("error"), $"{request}: {reply.ToJsonString()}");
                Assert.Equal((error[0]!.GetValue<int>(), error[1]!.GetValue<string>()), (reply["error"]!["code"]!.GetValue<int>(), reply["error"]!["message"]!.GetValue<string>()));
                continue;
            }

            Assert.True(reply.ContainsKey("result"), $"{request}: {reply.ToJsonString()}");
            if (line["result"]?.ToJsonString() != "\"@ANY@\"")
            {
                Assert.Equal(line["result"]?.ToJsonString(), reply["result"]?.ToJsonString());
            }
        }

        Assert.Equal(["SIGTERM"], host.Signals);
    }

    /// <summary>No method is forgotten: all names but vhostd's own, and those that plugins add, are sent by one generation or the other.</summary>
    [Fact]
    public async Task No_method_is_without_its_bytes()
    {
        var sent = new HashSet<string>(StringComparer.Ordinal);
        foreach (var generation in new[] { "2019", "current" })
        {
            foreach (var line in await ReadAsync(generation))
            {
                sent.Add(JsonNode.Parse(line["request"]!.GetValue<string>())!["method"]!.GetValue<string>());
            }
        }

        Assert.Empty(new Host.Rpc.RpcSurface(null).Names.Where(name => !name.StartsWith("vhostd_", StringComparison.Ordinal) && name is not ("bdev_malloc_resize" or "vhost_controller_move")).Except(sent));
    }

    private static async Task<IReadOnlyList<JsonObject>> ReadAsync(string generation) =>
        [.. (await File.ReadAllLinesAsync(Path.Combine(AppContext.BaseDirectory, "fixtures", $"methods.{generation}.jsonl"), TestContext.Current.CancellationToken)).Select(line => JsonNode.Parse(line)!.AsObject())];
}
