using Vhost.Abstractions;
using Vhost.Testing.FrontEnd;
using Vhost.Virtio;

namespace Vhost.VhostUser.Tests;

/// <summary>Real requests through everything: a driver's ring, a socket, a session, a blk device.</summary>
public sealed class IoTests
{
    private const int BlockBytes = 4096;
    private const int Sectors = BlockBytes / 512;

    [Theory]
    [InlineData(VirtqueueFormat.Split, true, true)]
    [InlineData(VirtqueueFormat.Split, false, true)]
    [InlineData(VirtqueueFormat.Split, true, false)]
    [InlineData(VirtqueueFormat.Packed, true, true)]
    [InlineData(VirtqueueFormat.Packed, false, false)]
    public async Task What_is_written_is_read_back(VirtqueueFormat format, bool hasEventIndex, bool hasIndirect)
    {
        await using var server = await BlkServer.StartAsync();
        using var memory = new GuestMemory(0, 4 << 20);
        using var device = FrontEndDevice.Connect(server.Harness.Socket, memory, new FrontEndOptions
        {
            Format = format,
            QueueCount = 2,
            QueueSize = 64,
            Features = (hasEventIndex ? VirtioFeatures.EventIndex : 0) | (hasIndirect ? VirtioFeatures.IndirectDescriptors : 0),
        });
        var requests = new VirtioBlkRequests(device, 4, BlockBytes);
        Assert.Equal(16384u, requests.BlockCount);
        for (var i = 0; i < 300; i++)
        {
            var queue = device.RequestQueue(i & 1);
            var place = (ulong)(i % 50 * Sectors);
            requests.Data(1).Span.Fill((byte)i);
            Assert.True(requests.Execute(queue, 1, isWrite: true, place, BlockBytes), requests.DescribeResult(1));
            requests.Data(2).Span.Clear();
            Assert.True(requests.Execute(queue, 2, isWrite: false, place, BlockBytes), requests.DescribeResult(2));
            Assert.Equal(-1, requests.Data(2).Span.IndexOfAnyExcept((byte)i));
        }

        device.Stop();
        Assert.Empty(server.Harness.Logger.Errors);
    }

    [Fact]
    public async Task A_sleeping_driver_is_interrupted()
    {
        await using var server = await BlkServer.StartAsync();
        using var memory = new GuestMemory(0, 4 << 20);
        using var device = FrontEndDevice.Connect(server.Harness.Socket, memory, new FrontEndOptions());
        var requests = new VirtioBlkRequests(device, 1, BlockBytes);
        var queue = device.RequestQueue(0);
        for (var i = 0; i < 200; i++)
        {
            Assert.True(requests.TryAdd(queue.Ring, 0, isWrite: false, (ulong)i, BlockBytes));
            queue.Publish();
            if (queue.Ring.TryEnableInterrupts())
            {
                Assert.True(queue.WaitForInterrupt(60_000), "no interrupt came");
                queue.Ring.DisableInterrupts();
            }

            Assert.Equal(0, BlockRequests.Complete(queue));
            Assert.True(requests.IsSuccess(0));
        }
    }

    [Fact]
    public async Task Memory_comes_and_goes_under_load()
    {
        await using var server = await BlkServer.StartAsync();
        using var memory = new GuestMemory(0, 4 << 20);
        using var device = FrontEndDevice.Connect(server.Harness.Socket, memory, new FrontEndOptions());
        var requests = new VirtioBlkRequests(device, 8, BlockBytes);
        var queue = device.RequestQueue(0);
        var stop = 0;
        var completed = 0L;
        Exception? failure = null;
        var load = new Thread(() =>
        {
            try
            {
                for (var i = 0; Volatile.Read(ref stop) == 0; i++)
                {
                    requests.Data(0).Span.Fill((byte)i);
                    Assert.True(requests.Execute(queue, 0, isWrite: true, (ulong)(i % 100 * Sectors), BlockBytes));
                    requests.Data(1).Span.Clear();
                    Assert.True(requests.Execute(queue, 1, isWrite: false, (ulong)(i % 100 * Sectors), BlockBytes));
                    Assert.Equal(-1, requests.Data(1).Span.IndexOfAnyExcept((byte)i));
                    Interlocked.Add(ref completed, 2);
                }
            }
            catch (Exception exception)
            {
                failure = exception;
            }
        });
        load.Start();
        var changes = 0;
        while (changes < 100 || (Interlocked.Read(ref completed) < 1000 && failure is null && changes < 100_000))
        {
            var added = memory.Add(1 << 20);
            added.Announce(device.Connection);
            if (changes % 3 == 0)
            {
                memory.AnnounceTable(device.Connection);
            }

            added.Withdraw(device.Connection);
            memory.Remove(added);
            changes++;
        }

        Volatile.Write(ref stop, 1);
        load.Join();
        Assert.Null(failure);
        Assert.True(completed > 0);
        Assert.Empty(server.Harness.Logger.Errors);
        Assert.Equal(1, server.Harness.Registry.RegisteredCount);
        TestContext.Current.TestOutputHelper?.WriteLine($"{changes} changes of memory during {completed} requests");
    }

    [Fact]
    public async Task A_region_serves_requests_from_its_announcement_to_its_withdrawal()
    {
        await using var server = await BlkServer.StartAsync();
        using var memory = new GuestMemory(0, 4 << 20);
        using var device = FrontEndDevice.Connect(server.Harness.Socket, memory, new FrontEndOptions());
        var queue = device.RequestQueue(0);
        var header = memory.Allocate(64, 64);
        var added = memory.Add(1 << 20);
        var data = added.Allocate(BlockBytes, 4096);
        added.Announce(device.Connection);
        server.Port.Data[..BlockBytes].Fill(0x77);
        Assert.Equal(0, Read(queue, header, data));
        Assert.Equal(-1, data.Span.IndexOfAnyExcept((byte)0x77));

        added.Withdraw(device.Connection);
        data.Span.Clear();
        Assert.NotEqual(0, Read(queue, header, data));
        Assert.Equal(-1, data.Span.IndexOfAnyExcept((byte)0));

        added.Announce(device.Connection);
        Assert.Equal(0, Read(queue, header, data));
        Assert.Equal(-1, data.Span.IndexOfAnyExcept((byte)0x77));
    }

    [Fact]
    public async Task Front_ends_that_come_back_find_their_data()
    {
        await using var server = await BlkServer.StartAsync();
        for (var i = 0; i < 10; i++)
        {
            using var memory = new GuestMemory(0, 4 << 20);
            using var device = FrontEndDevice.Connect(
                server.Harness.Socket, memory, new FrontEndOptions { Format = i % 2 == 0 ? VirtqueueFormat.Split : VirtqueueFormat.Packed });
            var requests = new VirtioBlkRequests(device, 1, BlockBytes);
            var queue = device.RequestQueue(0);
            if (i > 0)
            {
                Assert.True(requests.Execute(queue, 0, isWrite: false, 8, BlockBytes));
                Assert.Equal(-1, requests.Data(0).Span.IndexOfAnyExcept((byte)i));
            }

            requests.Data(0).Span.Fill((byte)(i + 1));
            Assert.True(requests.Execute(queue, 0, isWrite: true, 8, BlockBytes));

            // Half of them leave without stopping their queues, as a killed VM does.
            if (i % 2 == 0)
            {
                device.Stop();
            }
        }

        Assert.Empty(server.Harness.Logger.Errors);
    }

    [Fact]
    public async Task A_ring_goes_on_where_it_was_stopped()
    {
        await using var server = await BlkServer.StartAsync();
        using var memory = new GuestMemory(0, 4 << 20);
        using var device = FrontEndDevice.Connect(server.Harness.Socket, memory, new FrontEndOptions { QueueSize = 8 });
        var requests = new VirtioBlkRequests(device, 1, BlockBytes);
        var queue = device.RequestQueue(0);
        uint at = 0;
        for (var i = 0; i < 40; i++)
        {
            Assert.True(requests.Execute(queue, 0, isWrite: i % 2 == 0, 0, BlockBytes));
            at = queue.Stop(device.Connection);
            queue.Start(device.Connection, at);
        }

        Assert.Equal(40u, at);
    }

    [Fact]
    public async Task Kicks_and_calls_change_under_load()
    {
        await using var server = await BlkServer.StartAsync();
        using var memory = new GuestMemory(0, 4 << 20);
        using var device = FrontEndDevice.Connect(server.Harness.Socket, memory, new FrontEndOptions());
        var requests = new VirtioBlkRequests(device, 1, BlockBytes);
        var queue = device.RequestQueue(0);
        for (var i = 0; i < 100; i++)
        {
            Assert.True(requests.TryAdd(queue.Ring, 0, isWrite: false, 0, BlockBytes));
            queue.Publish();
            device.Connection.TellNumber(FrontEndRequest.SetVringKick, i % 5 == 4 ? 1u << 8 : 0u, i % 5 == 4 ? [] : [queue.Kick.Raw]);
            device.Connection.TellNumber(FrontEndRequest.SetVringCall, 0, queue.Call.Raw);
            Assert.Equal(0, BlockRequests.Complete(queue));
            Assert.True(requests.IsSuccess(0));
        }

        Assert.Empty(server.Harness.Logger.Errors);
    }

    private static unsafe byte Read(FrontEndQueue queue, GuestBuffer header, GuestBuffer data)
    {
        header.Span.Clear();
        header.Span[32] = 0xff;
        var status = header.Slice(32, 1);
        Assert.True(queue.Ring.TryAdd(
            [new DriverSegment(header.GuestAddress, 16)],
            [new DriverSegment(data.GuestAddress, (uint)data.LengthBytes), new DriverSegment(status.GuestAddress, 1)],
            0));
        BlockRequests.Complete(queue);
        return *(byte*)status.HostAddress;
    }
}
