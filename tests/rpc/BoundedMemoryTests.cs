using Vhost.Host.Rpc;

namespace Vhost.Rpc.Tests;

/// <summary>Allocations are counted for the whole process, so nothing else may run beside these tests.</summary>
[CollectionDefinition(nameof(BoundedMemoryTests), DisableParallelization = true)]
[Collection(nameof(BoundedMemoryTests))]
public sealed class BoundedMemoryTests
{
    private const string Version = """{"jsonrpc":"2.0","method":"rpc_get_methods","id":1,"params":{"include_aliases":false}}""";

    [Fact]
    public async Task Megabytes_without_end_are_refused_with_bounded_memory_and_others_are_served()
    {
        await using var host = await RunningHost.StartAsync(new RpcLimits { Linger = TimeSpan.FromSeconds(30) });
        using var other = new Client(host.SocketPath);
        await other.ExchangeAsync(Version);
        using var client = new Client(host.SocketPath);
        await client.SendAsync("""{"jsonrpc":"2.0","id":1,"method":"bdev_get_bdevs","params":{"name":" """);
        var piece = new byte[1 << 16];
        piece.AsSpan().Fill((byte)'x');
        var before = GC.GetTotalAllocatedBytes(precise: true);
        for (var sent = 0; sent < 64 << 20; sent += piece.Length)
        {
            await client.SendAsync(piece);
        }

        Assert.StartsWith("""{"jsonrpc":"2.0","id":null,"error":{"code":-32600,""", await client.ReceiveAsync(), StringComparison.Ordinal);
        // 64 MiB came; the server's buffer grows by doubling up to 1 MiB, and what the sending takes is this test's own.
        Assert.InRange(GC.GetTotalAllocatedBytes(precise: true) - before, 0, 16 << 20);
        Assert.StartsWith("""{"jsonrpc":"2.0","id":1,"result":""", await other.ExchangeAsync(Version), StringComparison.Ordinal);
    }
}
