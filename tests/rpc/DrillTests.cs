using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Vhost.Abstractions;

namespace Vhost.Rpc.Tests;

/// <summary>Drills while it runs: errors and delays that come and go by call, and who hears of bdevs.</summary>
public sealed class DrillTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);

    [Fact]
    public async Task Errors_come_and_go_by_type_and_number()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.ResultAsync("bdev_malloc_create", Params(("name", "M"), ("num_blocks", 2048), ("block_size", 512)));
        Assert.True((await client.ResultAsync("bdev_error_create", Params(("base_name", "M"))))!.GetValue<bool>());
        await using var disk = await Disk.OpenAsync(host, "EE_M");
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Write));

        await InjectAsync("read", "failure", 2);
        await InjectAsync("write", "nomem", 1);
        Assert.Equal(BlockStatus.IoError, await disk.RunAsync(BlockOperation.Read));
        // Another type of request: the count of the first goes on where it was.
        await InjectAsync("unmap", "failure", 1);
        Assert.Equal(BlockStatus.IoError, await disk.RunAsync(BlockOperation.Read));
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Read));
        Assert.Equal(BlockStatus.Busy, await disk.RunAsync(BlockOperation.Write));
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Write));
        // The same once more counts anew.
        await InjectAsync("write", "nomem", 1);
        Assert.Equal(BlockStatus.Busy, await disk.RunAsync(BlockOperation.Write));
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Write));
        // None of them any more.
        await InjectAsync("unmap", "failure", 0);
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Discard));

        await client.ResultAsync("bdev_error_inject_error", Params(("name", "EE_M"), ("io_type", "read"), ("error_type", "corrupt_data"), ("num", 1), ("corrupt_offset", 9), ("corrupt_value", 4)));
        disk.Fill(0x11);
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Write));
        disk.Fill(0);
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Read));
        Assert.Equal((0x11, 0x15, 0x11), (disk[8], disk[9], disk[10]));
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Read));
        Assert.Equal(0x11, disk[9]);

        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_error_inject_error", Params(("name", "EE_M"), ("io_type", "fly"), ("error_type", "failure"))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_error_inject_error", Params(("name", "EE_M"), ("io_type", "read"), ("error_type", "fly"))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_error_inject_error", Params(("name", "EE_M"), ("io_type", "flush"), ("error_type", "corrupt_data"))));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("bdev_error_inject_error", Params(("name", "M"), ("io_type", "read"), ("error_type", "failure"))));
        Assert.Equal("-32602 Device or resource busy", await client.ErrorAsync("bdev_malloc_delete", Params(("name", "M"))));

        async Task InjectAsync(string type, string error, int count) =>
            Assert.True((await client.ResultAsync("bdev_error_inject_error", Params(("name", "EE_M"), ("io_type", type), ("error_type", error), ("num", count))))!.GetValue<bool>());
    }

    [Fact]
    public async Task What_hangs_ends_when_the_drill_does_and_its_rules_are_saved_until_then()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.ResultAsync("bdev_malloc_create", Params(("name", "M"), ("num_blocks", 2048), ("block_size", 512)));
        await client.ResultAsync("construct_error_bdev", Params(("base_name", "M")));
        var pristine = (await client.ResultAsync("save_config"))!.ToJsonString();
        await using var disk = await Disk.OpenAsync(host, "EE_M");
        await client.ResultAsync("bdev_error_inject_error", Params(("name", "EE_M"), ("io_type", "all"), ("error_type", "pending"), ("num", 1)));
        var hanging = disk.RunAsync(BlockOperation.Flush);
        // Another rule, for another type: what hangs goes on hanging.
        await client.ResultAsync("bdev_error_inject_error", Params(("name", "EE_M"), ("io_type", "read"), ("error_type", "failure"), ("num", 1)));
        Assert.Equal(
            """[{"operation":"read","action":"fail","status":"ioError","count":1,"round":2},{"operation":"write","action":"hang","status":"ioError","count":1,"round":1},"""
            + """{"operation":"discard","action":"hang","status":"ioError","count":1,"round":1},{"operation":"flush","action":"hang","status":"ioError","count":1,"round":1}]""",
            (await client.ResultAsync("save_config"))!["bdevs"]!["EE_M"]!["rules"]!.ToJsonString());
        await disk.TurnAsync();
        Assert.False(hanging.IsCompleted);
        await client.ResultAsync("bdev_error_inject_error", Params(("name", "EE_M"), ("io_type", "clear"), ("error_type", "failure")));
        Assert.Equal(BlockStatus.IoError, await hanging.WaitAsync(Limit, TestContext.Current.CancellationToken));
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Read));
        Assert.Equal(pristine, (await client.ResultAsync("save_config"))!.ToJsonString());
    }

    [Fact]
    public async Task Delays_change_while_it_runs()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.ResultAsync("bdev_malloc_create", Params(("name", "M"), ("num_blocks", 2048), ("block_size", 512)));
        const long HourMicroseconds = 3_600_000_000;
        Assert.Equal("D", (await client.ResultAsync("bdev_delay_create", Params(
            ("base_bdev_name", "M"), ("name", "D"), ("avg_read_latency", 0), ("p99_read_latency", 0), ("avg_write_latency", HourMicroseconds), ("p99_write_latency", HourMicroseconds))))!.GetValue<string>());
        await using var disk = await Disk.OpenAsync(host, "D");
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Read));
        // Shown by what does not come: an hour is longer than any machine is slow.
        Assert.True((await client.ResultAsync("bdev_delay_update_latency", Params(("delay_bdev_name", "D"), ("latency_type", "avg_read"), ("latency_us", HourMicroseconds))))!.GetValue<bool>());
        await client.ResultAsync("bdev_delay_update_latency", Params(("delay_bdev_name", "D"), ("latency_type", "p99_write"), ("latency_us", 0)));
        var section = (await client.ResultAsync("save_config"))!["bdevs"]!["D"]!;
        Assert.Equal((HourMicroseconds, HourMicroseconds, 0, 0), (Number("readAverageUs"), Number("readP99Us"), Number("writeAverageUs"), Number("writeP99Us")));
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Write));
        var slow = disk.RunAsync(BlockOperation.Read);
        await disk.TurnAsync();
        await disk.TurnAsync();
        Assert.False(slow.IsCompleted);
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_delay_update_latency", Params(("delay_bdev_name", "D"), ("latency_type", "max"), ("latency_us", 1))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_delay_update_latency", Params(("delay_bdev_name", "D"), ("latency_type", "avg_read"), ("latency_us", ulong.MaxValue))));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("bdev_delay_update_latency", Params(("delay_bdev_name", "M"), ("latency_type", "avg_read"), ("latency_us", 1))));

        long Number(string key) => long.Parse(section[key]!.ToJsonString(), System.Globalization.CultureInfo.InvariantCulture);
    }

    [Fact]
    public async Task Errors_may_wait_for_a_queue_depth()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await using var disk = await OverSlowReadsAsync(host, client);
        await InjectAsync(client, "write", "failure", 2, queueDepth: 2);
        Assert.Equal(2, int.Parse((await client.ResultAsync("save_config"))!["bdevs"]!["EE_D"]!["rules"]![0]!["queueDepth"]!.ToJsonString(), System.Globalization.CultureInfo.InvariantCulture));

        // The request that comes is not counted itself, those of other types are; what passed unharmed has not spent the number.
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Write));
        var first = disk.RunAsync(BlockOperation.Read);
        await disk.TurnAsync();
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Write));
        var second = disk.RunAsync(BlockOperation.Read);
        await disk.TurnAsync();
        Assert.Equal(BlockStatus.IoError, await disk.RunAsync(BlockOperation.Write));
        Assert.Equal(BlockStatus.IoError, await disk.RunAsync(BlockOperation.Write));
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Write));

        // One more than are under way, and more than there can ever be.
        await InjectAsync(client, "write", "failure", 1, queueDepth: 3);
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Write));
        await InjectAsync(client, "write", "failure", 1, queueDepth: ulong.MaxValue);
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Write));
        Assert.False(first.IsCompleted);
        Assert.False(second.IsCompleted);
    }

    [Fact]
    public async Task What_hangs_by_a_call_is_not_under_way()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await using var disk = await OverSlowReadsAsync(host, client);
        await InjectAsync(client, "flush", "pending", 2, queueDepth: 0);
        var hanging = disk.RunAsync(BlockOperation.Flush);
        await disk.TurnAsync();
        await InjectAsync(client, "write", "failure", 1, queueDepth: 1);
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Write));
        var slow = disk.RunAsync(BlockOperation.Read);
        await disk.TurnAsync();
        Assert.Equal(BlockStatus.IoError, await disk.RunAsync(BlockOperation.Write));
        Assert.Equal((false, false), (hanging.IsCompleted, slow.IsCompleted));
    }

    [Fact]
    public async Task Each_type_counts_for_itself_where_all_are_disturbed()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.ResultAsync("bdev_malloc_create", Params(("name", "M"), ("num_blocks", 2048), ("block_size", 512)));
        await client.ResultAsync("bdev_error_create", Params(("base_name", "M")));
        await using var disk = await Disk.OpenAsync(host, "EE_M");
        await InjectAsync(client, "all", "failure", 2, queueDepth: 0, bdev: "EE_M");
        foreach (var operation in new[] { BlockOperation.Read, BlockOperation.Write, BlockOperation.Flush })
        {
            Assert.Equal(BlockStatus.IoError, await disk.RunAsync(operation));
            Assert.Equal(BlockStatus.IoError, await disk.RunAsync(operation));
            Assert.Equal(BlockStatus.Success, await disk.RunAsync(operation));
        }

        // A call for one type leaves what the others have left.
        await InjectAsync(client, "read", "nomem", 1, queueDepth: 0, bdev: "EE_M");
        Assert.Equal(BlockStatus.Busy, await disk.RunAsync(BlockOperation.Read));
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Read));
        Assert.Equal(BlockStatus.IoError, await disk.RunAsync(BlockOperation.Discard));
        Assert.Equal(BlockStatus.IoError, await disk.RunAsync(BlockOperation.Discard));
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Discard));

        // Only reads and writes have data that could be wrong.
        await InjectAsync(client, "all", "corrupt_data", 1, queueDepth: 0, bdev: "EE_M");
        disk.Fill(0x11);
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Flush));
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Write));
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Read));
        Assert.Equal(0x11, disk[0]); // wrong on the disk and wrong again in memory
        Assert.Equal(BlockStatus.Success, await disk.RunAsync(BlockOperation.Read));
        Assert.Equal(0xee, disk[0]);
    }

    [Fact]
    public async Task Who_asks_hears_which_bdevs_came_and_went()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.ResultAsync("bdev_null_create", Params(("name", "A"), ("num_blocks", 2048), ("block_size", 512)));
        await client.ResultAsync("bdev_null_create", Params(("name", "B"), ("num_blocks", 2048), ("block_size", 512)));
        await client.ResultAsync("bdev_null_delete", Params(("name", "A")));
        Assert.Equal(
            """[{"type":"bdev_register","ctx":"A","id":0},{"type":"bdev_register","ctx":"B","id":1},{"type":"bdev_unregister","ctx":"A","id":2}]""",
            (await client.ResultAsync("notify_get_notifications"))!.ToJsonString());
        Assert.Equal("""[{"type":"bdev_register","ctx":"B","id":1}]""", (await client.ResultAsync("get_notifications", Params(("id", 1), ("max", 1))))!.ToJsonString());
        Assert.Equal("[]", (await client.ResultAsync("notify_get_notifications", Params(("id", 3))))!.ToJsonString());
        Assert.Equal("[]", (await client.ResultAsync("notify_get_notifications", Params(("id", ulong.MaxValue), ("max", ulong.MaxValue))))!.ToJsonString());
    }

    /// <summary>EE_D over D, whose reads take an hour, over M.</summary>
    private static async Task<Disk> OverSlowReadsAsync(RunningHost host, Client client)
    {
        await client.ResultAsync("bdev_malloc_create", Params(("name", "M"), ("num_blocks", 2048), ("block_size", 512)));
        await client.ResultAsync("bdev_delay_create", Params(("base_bdev_name", "M"), ("name", "D"), ("avg_read_latency", 3_600_000_000L), ("p99_read_latency", 3_600_000_000L), ("avg_write_latency", 0), ("p99_write_latency", 0)));
        await client.ResultAsync("bdev_error_create", Params(("base_name", "D")));
        return await Disk.OpenAsync(host, "EE_D");
    }

    private static async Task InjectAsync(Client client, string type, string error, int count, ulong queueDepth, string bdev = "EE_D") =>
        await client.ResultAsync("bdev_error_inject_error", Params(("name", bdev), ("io_type", type), ("error_type", error), ("num", count), ("queue_depth", queueDepth)));

    private static JsonObject Params(params (string Key, JsonNode? Value)[] values) => new(values.Select(value => KeyValuePair.Create(value.Key, value.Value)));

    /// <summary>One request at a time of a block's length, at block 0, past any controller.</summary>
    private sealed class Disk : IBdevCompletions, IAsyncDisposable
    {
        private const int BlockBytes = 512;
        private const int Depth = 4;

        private readonly IReactor _reactor;
        private readonly unsafe BlockRequest* _requests = (BlockRequest*)NativeMemory.AllocZeroed(Depth, (nuint)sizeof(BlockRequest));
        private readonly unsafe IoSegment* _segment = (IoSegment*)NativeMemory.AllocZeroed((nuint)sizeof(IoSegment));
        private readonly unsafe byte* _buffer = (byte*)NativeMemory.AllocZeroed(BlockBytes);
        private readonly Dictionary<nint, TaskCompletionSource<BlockStatus>> _waiting = [];
        private IBdevChannel? _channel;

        private Disk(IReactor reactor) => _reactor = reactor;

        public unsafe byte this[int index] => _buffer[index];

        public static async Task<Disk> OpenAsync(RunningHost host, string bdev)
        {
            var disk = new Disk(host.Host.Reactors[0]);
            await disk._reactor.InvokeAsync(() => { disk._channel = host.Host.FindPort(bdev)!.OpenChannel(disk._reactor, disk); });
            return disk;
        }

        public unsafe void Fill(byte value) => new Span<byte>(_buffer, BlockBytes).Fill(value);

        public async Task<BlockStatus> RunAsync(BlockOperation operation)
        {
            var done = new TaskCompletionSource<BlockStatus>(TaskCreationOptions.RunContinuationsAsynchronously);
            await _reactor.InvokeAsync(() => Submit(operation, done));
            return await done.Task.WaitAsync(Limit);
        }

        /// <summary>Lets the reactor come around.</summary>
        public Task TurnAsync() => _reactor.InvokeAsync(() => { });

        public unsafe void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests)
        {
            foreach (var request in requests)
            {
                Assert.True(_waiting.Remove((nint)request.Pointer, out var done));
                done.SetResult(request.Pointer->Status);
            }
        }

        public async ValueTask DisposeAsync()
        {
            await _reactor.InvokeAsync(() => _channel!.Dispose());
            foreach (var done in _waiting.Values)
            {
                done.TrySetResult(BlockStatus.Aborted);
            }

            Free();
        }

        private unsafe void Free()
        {
            NativeMemory.Free(_requests);
            NativeMemory.Free(_segment);
            NativeMemory.Free(_buffer);
        }

        private unsafe void Submit(BlockOperation operation, TaskCompletionSource<BlockStatus> done)
        {
            var request = _requests;
            while (_waiting.ContainsKey((nint)request))
            {
                request++;
            }

            Assert.True(request < _requests + Depth);
            *_segment = new IoSegment(_buffer, BlockBytes);
            request->Operation = operation;
            request->Flags = BlockRequestFlags.None;
            request->StartBlock = 0;
            request->BlockCount = operation == BlockOperation.Flush ? 0UL : 1;
            request->Segments = _segment;
            request->SegmentCount = operation is BlockOperation.Read or BlockOperation.Write ? 1 : 0;
            _waiting.Add((nint)request, done);
            _channel!.Submit([new BlockRequestPointer(request)]);
        }
    }
}
