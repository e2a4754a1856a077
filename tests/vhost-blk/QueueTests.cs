using Vhost.Abstractions;
using Vhost.Virtio;

namespace Vhost.VhostBlk.Tests;

public sealed class QueueTests
{
    [Fact]
    public void Queues_are_spread_over_the_reactors_and_share_a_channel_on_each()
    {
        var bench = new BlkBench(queueCount: 5, reactorCount: 2);
        Assert.Equal([3, 2], bench.Reactors.Select(reactor => reactor.PollerCount));
        Assert.Equal(2, bench.Port.ChannelCount);
        for (var i = 0; i < 5; i++)
        {
            var address = bench.Ram.Allocate(16 + 512 + 1);
            BlkBench.Header(1, (ulong)i).CopyTo(bench.Ram.Span(address, 16));
            bench.Ram.Span(address + 16, 512).Fill((byte)(i + 1));
            var driver = bench.Queues[i].Driver;
            Assert.True(driver.TryAdd([new DriverSegment(address, 528)], [new DriverSegment(address + 528, 1)], 1));
            driver.Publish();
            bench.Reactors[i % 2].TurnUntil(() => driver.TryGetUsed(out _, out _));
            Assert.Equal(i + 1, bench.Port.Data[i * 512]);
        }

        bench.Run(bench.Session.StopQueueAsync(1, TestContext.Current.CancellationToken).AsTask());
        Assert.Equal(2, bench.Port.ChannelCount);
        bench.Run(bench.Session.StopQueueAsync(3, TestContext.Current.CancellationToken).AsTask());
        Assert.Equal(1, bench.Port.ChannelCount);
        bench.Dispose();
        Assert.Equal(0, bench.Port.ChannelCount);
    }

    [Theory]
    [InlineData(VirtqueueFormat.Split)]
    [InlineData(VirtqueueFormat.Packed)]
    public void Results_of_a_slow_bdev_come_in_its_order(VirtqueueFormat format)
    {
        using var bench = new BlkBench(format: format);
        bench.Port.IsDeferring = true;
        var status = Send(bench, 4);
        Assert.Equal(4, bench.Port.PendingCount);
        Assert.False(bench.Driver.HasUsed);
        bench.Reactor.Invoke(() => bench.Port.CompletePending(1));
        bench.Reactor.Invoke(() => bench.Port.CompletePending(2, BlockStatus.IoError));
        bench.Reactor.Invoke(() => bench.Port.CompletePending());
        byte[] expected = [0, 1, 1, 0];
        for (ulong i = 0; i < 4; i++)
        {
            Assert.True(bench.Driver.TryGetUsed(out var token, out _));
            Assert.Equal(i, token);
            Assert.Equal(expected[i], bench.Ram.Span(status[i], 1)[0]);
        }
    }

    [Fact]
    public void A_queue_that_is_given_up_aborts_its_requests_and_leaves_the_guest_alone()
    {
        using var bench = new BlkBench();
        bench.Port.IsDeferring = true;
        var status = Send(bench, 3);
        using var limit = new CancellationTokenSource(50);
        var stop = bench.Reactor.Run(bench.Session.StopQueueAsync(0, limit.Token));
        Assert.Equal(0, bench.Port.PendingCount);
        Assert.Equal(0, stop.AbandonedRequestCount);
        Assert.False(bench.Driver.HasUsed);
        Assert.All(status, address => Assert.Equal(0xcc, bench.Ram.Span(address, 1)[0]));
    }

    private static ulong[] Send(BlkBench bench, int count)
    {
        var status = new ulong[count];
        for (var i = 0; i < count; i++)
        {
            var address = bench.Ram.Allocate(16 + 512 + 1);
            BlkBench.Header(0, (ulong)i).CopyTo(bench.Ram.Span(address, 16));
            status[i] = address + 528;
            bench.Ram.Span(status[i], 1)[0] = 0xcc;
            Assert.True(bench.Driver.TryAdd([new DriverSegment(address, 16)], [new DriverSegment(address + 16, 513)], (ulong)i));
        }

        bench.Driver.Publish();
        bench.Reactor.TurnUntilIdle();
        return status;
    }
}
