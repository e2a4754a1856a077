using System.Diagnostics;
using System.Text.Json.Nodes;
using CsCheck;
using Vhost.Host.Rpc;

namespace Vhost.Rpc.Tests;

/// <summary>What comes over the socket, good and bad.</summary>
public sealed class FramingTests
{
    private const string Version = """{"jsonrpc":"2.0","method":"rpc_get_methods","id":1,"params":{"include_aliases":false}}""";

    [Fact]
    public async Task The_socket_is_the_owners_and_goes_with_the_server()
    {
        await using var host = await RunningHost.StartAsync();
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(host.SocketPath));
    }

    [Fact]
    public async Task Requests_back_to_back_in_pieces_and_with_space_between_are_answered_in_order()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.SendAsync("""{"jsonrpc":"2.0","id":"a","method":"x"}{"jsonrpc":"2.0","id":2,"method":"x"}""" + "\n \t\r\n" + """{"jsonrpc":"2.0","id":3,"me""");
        await client.SendAsync("""thod":"}]\"{[", "params":{}}""");
        foreach (var id in new[] { "\"a\"", "2", "3" })
        {
            Assert.StartsWith($$"""{"jsonrpc":"2.0","id":{{id}},"error":{"code":-32601,"message":"Method not found",""", await client.ReceiveAsync(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_batch_is_answered_as_one_without_its_notifications()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        var reply = await client.ExchangeAsync("""[{"jsonrpc":"2.0","id":1,"method":"bdev_get_bdevs"},{"jsonrpc":"2.0","method":"bdev_get_bdevs"},5,{"jsonrpc":"2.0","id":2,"method":"x"}]""");
        var replies = JsonNode.Parse(reply!)!.AsArray();
        Assert.Equal(3, replies.Count);
        Assert.Equal("""{"jsonrpc":"2.0","id":1,"result":[]}""", replies[0]!.ToJsonString());
        Assert.Equal(-32600, replies[1]!["error"]!["code"]!.GetValue<int>());
        Assert.Equal(2, replies[2]!["id"]!.GetValue<int>());
    }

    [Fact]
    public async Task A_request_without_id_is_answered_only_if_it_fails()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.SendAsync("""{"jsonrpc":"2.0","method":"bdev_get_bdevs"}{"jsonrpc":"2.0","id":null,"method":"bdev_get_bdevs"}{"jsonrpc":"2.0","method":"bdev_get_bdevs","params":{"name":"no"}}""");
        Assert.StartsWith("""{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"Invalid parameters",""", await client.ReceiveAsync(), StringComparison.Ordinal);
        Assert.StartsWith("""{"jsonrpc":"2.0","id":1,"result":""", await client.ExchangeAsync(Version), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"a":}""")]
    [InlineData("""{"jsonrpc":"2.0" "id":1}""")]
    [InlineData("""{]""")]
    [InlineData("""]""")]
    [InlineData("""nonsense""")]
    [InlineData("GET / HTTP/1.1\r\n\r\n")]
    public async Task What_is_no_JSON_is_a_parse_error_and_the_end(string text)
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        Assert.StartsWith("""{"jsonrpc":"2.0","id":null,"error":{"code":-32700,""", await client.ExchangeAsync(text), StringComparison.Ordinal);
        Assert.Null(await client.ReceiveAsync());
    }

    [Theory]
    [InlineData("""{}""", "null")]
    [InlineData("""[]""", "null")]
    [InlineData("""{"jsonrpc":"2.0","id":4}""", "4")]
    [InlineData("""{"jsonrpc":"1.0","id":4,"method":"bdev_get_bdevs"}""", "4")]
    [InlineData("""{"id":4,"method":"bdev_get_bdevs"}""", "4")]
    [InlineData("""{"jsonrpc":"2.0","id":4,"method":5}""", "4")]
    [InlineData("""{"jsonrpc":"2.0","id":4,"method":"bdev_get_bdevs","params":5}""", "4")]
    [InlineData("""{"jsonrpc":"2.0","id":4,"method":"bdev_get_bdevs","extra":5}""", "4")]
    [InlineData("""{"jsonrpc":"2.0","id":[4],"method":"bdev_get_bdevs"}""", "null")]
    [InlineData("""{"jsonrpc":"2.0","id":4,"method":"\ud800"}""", "4")]
    public async Task What_is_no_request_is_an_error_and_the_connection_goes_on(string text, string id)
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        Assert.StartsWith($$"""{"jsonrpc":"2.0","id":{{id}},"error":{"code":-32600,"message":"Invalid request",""", await client.ExchangeAsync(text), StringComparison.Ordinal);
        Assert.StartsWith("""{"jsonrpc":"2.0","id":1,"result":""", await client.ExchangeAsync(Version), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Ten_thousand_nested_arrays_are_a_parse_error()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        Assert.StartsWith("""{"jsonrpc":"2.0","id":null,"error":{"code":-32700,""", await client.ExchangeAsync(new string('[', 10000) + new string(']', 10000)), StringComparison.Ordinal);
        Assert.Null(await client.ReceiveAsync());
    }

    [Fact]
    public async Task A_thousand_idle_connections_take_64_places_and_another_client_is_served()
    {
        await using var host = await RunningHost.StartAsync(new RpcLimits { Idle = TimeSpan.Zero });
        var idle = new List<Client>();
        try
        {
            for (var i = 0; i < 1000; i++)
            {
                idle.Add(new Client(host.SocketPath));
                Assert.InRange(host.ClientCount, 0, 64);
            }

            using var client = new Client(host.SocketPath);
            Assert.StartsWith("""{"jsonrpc":"2.0","id":1,"result":""", await client.ExchangeAsync(Version), StringComparison.Ordinal);
        }
        finally
        {
            idle.ForEach(client => client.Dispose());
        }
    }

    [Fact]
    public async Task When_all_places_are_taken_by_busy_clients_another_one_is_refused()
    {
        await using var host = await RunningHost.StartAsync(new RpcLimits { Connections = 2, Idle = TimeSpan.FromHours(1) });
        using var first = new Client(host.SocketPath);
        using var second = new Client(host.SocketPath);
        await first.ExchangeAsync(Version);
        await second.ExchangeAsync(Version);
        using (var third = new Client(host.SocketPath))
        {
            Assert.Null(await third.ReceiveAsync());
        }

        second.Dispose();
        await WaitAsync(() => host.ClientCount == 1);
        using var fourth = new Client(host.SocketPath);
        Assert.NotNull(await fourth.ExchangeAsync(Version));
    }

    [Fact]
    public async Task A_client_that_stops_reading_is_cut_off_and_others_are_served()
    {
        await using var host = await RunningHost.StartAsync(new RpcLimits { Send = TimeSpan.FromMilliseconds(300) });
        using var client = new Client(host.SocketPath);
        var requests = string.Concat(Enumerable.Repeat("""{"jsonrpc":"2.0","method":"rpc_get_methods","id":1}""", 2000));
        var sending = client.SendAsync(requests);
        await WaitAsync(() => host.ClientCount == 0);
        await Assert.ThrowsAnyAsync<Exception>(async () =>
        {
            await sending;
            await client.SendAsync(requests);
            await client.SendAsync(requests);
        });
        using var other = new Client(host.SocketPath);
        Assert.NotNull(await other.ExchangeAsync(Version));
    }

    [Fact]
    public async Task A_request_whose_end_does_not_come_is_given_up()
    {
        await using var host = await RunningHost.StartAsync(new RpcLimits { Receive = TimeSpan.FromMilliseconds(200) });
        using var client = new Client(host.SocketPath);
        Assert.StartsWith("""{"jsonrpc":"2.0","id":null,"error":{"code":-32600,""", await client.ExchangeAsync("""{"jsonrpc":"2.0","""), StringComparison.Ordinal);
        Assert.Null(await client.ReceiveAsync());
    }

    [Fact]
    public async Task A_second_server_on_the_path_is_refused_and_a_dead_ones_socket_is_replaced()
    {
        await using var host = await RunningHost.StartAsync();
        await using (var second = new RpcServer(host.SocketPath, new RpcSurface(null), new RpcLimits(), Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance))
        {
            Assert.Contains("another process serves it", Assert.Throws<IOException>(second.Start).Message, StringComparison.Ordinal);
        }

        var path = Path.Combine(host.Directory, "dead.sock");
        using (var dead = new System.Net.Sockets.Socket(System.Net.Sockets.AddressFamily.Unix, System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Unspecified))
        {
            dead.Bind(new System.Net.Sockets.UnixDomainSocketEndPoint(path));
            File.Move(path, path + ".kept");
        }

        File.Move(path + ".kept", path);
        await using var third = new RpcServer(path, new RpcSurface(null), new RpcLimits(), Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance);
        third.Start();
        var ordinary = Path.Combine(host.Directory, "file");
        await File.WriteAllTextAsync(ordinary, "data", TestContext.Current.CancellationToken);
        await using var fourth = new RpcServer(ordinary, new RpcSurface(null), new RpcLimits(), Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance);
        Assert.Throws<IOException>(fourth.Start);
        Assert.Equal("data", await File.ReadAllTextAsync(ordinary, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_path_that_cannot_be_served_is_refused_with_what_is_wrong_with_it()
    {
        var directory = RunningHost.NewDirectory();
        try
        {
            Directory.CreateDirectory(Path.Combine(directory, "taken.lock"));
            await RefuseAsync(Path.Combine(directory, "none", "rpc.sock"), $"there is no directory {directory}/none; make it, or choose another path with --rpc-socket or -r");
            await RefuseAsync(directory, $"it is a directory; name the socket too, such as {directory}/spdk.sock");
            await RefuseAsync(Path.Combine(directory, new string('x', 120)), "the path is longer than the 107 bytes that a socket's may have");
            await RefuseAsync(Path.Combine(directory, "taken"), $"{directory}/taken.lock may not be written by this user");
            Assert.Equal([Path.Combine(directory, "taken.lock")], Directory.GetFileSystemEntries(directory));
            Assert.False(File.Exists($"{directory}.lock"));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }

        static async Task RefuseAsync(string path, string reason)
        {
            await using var server = new RpcServer(path, new RpcSurface(null), new RpcLimits(), Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance);
            Assert.Contains(reason, Assert.Throws<IOException>(server.Start).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Any_bytes_scan_without_a_fault_and_end_where_JSON_ends() =>
        Check.Sample(
            Gen.OneOf(Gen.Byte, Gen.Int[0, 6].Select(index => (byte)"{}[]\"\\ "[index])).Array[0, 200],
            bytes =>
            {
                var whole = default(JsonTextScanner);
                var result = whole.Scan(bytes, out var consumed);
                var piecewise = default(JsonTextScanner);
                for (var i = 0; i < bytes.Length; i++)
                {
                    var step = piecewise.Scan(bytes.AsSpan(i, 1), out _);
                    if (step != ScanResult.Incomplete)
                    {
                        Assert.Equal((result, consumed), (step, i + 1));
                        return;
                    }
                }

                Assert.Equal(ScanResult.Incomplete, result);
            });

    private static async Task WaitAsync(Func<bool> condition)
    {
        var start = Stopwatch.GetTimestamp();
        while (!condition())
        {
            Assert.True(Stopwatch.GetElapsedTime(start) < TimeSpan.FromSeconds(120), "it does not come");
            await Task.Delay(20, TestContext.Current.CancellationToken);
        }
    }
}
