using Vhost.Abstractions;

namespace Vhost.Virtio.Tests;

/// <summary>The life of queues: stop, giving up, memory that changes under them.</summary>
public sealed unsafe class SessionTests
{
    private static readonly CancellationToken Token = TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(VirtqueueFormat.Split)]
    [InlineData(VirtqueueFormat.Packed)]
    public void A_stopped_queue_goes_on_where_it_stood(VirtqueueFormat format)
    {
        using var bench = new Bench(format, 8).Start();
        for (var life = 0; life < 5; life++)
        {
            for (var i = 0; i < 7; i++)
            {
                bench.Echo([1], 1, out var answer);
                Assert.Equal([254], answer);
            }

            var stop = bench.Stop();
            Assert.Equal(0, stop.AbandonedRequestCount);
            Assert.Equal(1, bench.Handler.StoppingCount);
            Assert.Equal(1, bench.Handler.DetachCount);
            // Asked again, a queue that does not run says the same.
            Assert.Equal(stop, bench.Stop());
            bench.Start(stop.State);
        }

        Assert.Equal(1, bench.Reactor.PollerCount);
    }

    [Fact]
    public void A_stop_waits_for_what_is_under_way_and_takes_nothing_new()
    {
        using var bench = Keeping(out var task, requests: 3);
        bench.Reactor.Turn();
        Assert.False(task.IsCompleted);
        Send(bench, 1);
        bench.Reactor.TurnUntilIdle();
        Assert.Equal(3, bench.Handler.KeptCount);
        bench.Reactor.Invoke(() => bench.Handler.Release(2, 0));
        bench.Reactor.TurnUntilIdle();
        Assert.False(task.IsCompleted);
        bench.Reactor.Invoke(() => bench.Handler.Release(0));
        Assert.Equal(new VirtqueueStop(new VirtqueueState(3, 3), 0), bench.Reactor.Run(new ValueTask<VirtqueueStop>(task)));
        Assert.Equal(3, Reap(bench));
    }

    [Fact]
    public void A_queue_that_is_given_up_touches_nothing_any_more()
    {
        using var bench = Keeping(out var task, requests: 2, limitMs: 50);
        var stop = bench.Reactor.Run(new ValueTask<VirtqueueStop>(task));
        Assert.Equal(new VirtqueueStop(new VirtqueueState(2, 0), 2), stop);
        Assert.Equal(2, bench.Session.AbandonedRequestCount);
        Assert.Equal(1, bench.Handler.DetachCount);
        var calls = bench.Queue.Call.Count;
        var queue = bench.Handler.Queue!;
        bench.Reactor.Invoke(() => bench.Handler.Release(0));
        Assert.Equal(1, bench.Session.AbandonedRequestCount);
        bench.Reactor.Invoke(() => bench.Handler.Release(0));
        Assert.Equal(0, bench.Session.AbandonedRequestCount);
        Assert.Equal(2, queue.Statistics.DroppedCompletionCount);
        Assert.Equal(0, *(ushort*)(bench.Queue.Memory.Device + 2));
        Assert.Equal(calls, bench.Queue.Call.Count);
        bench.Reactor.TurnUntilIdle();
    }

    [Fact]
    public void A_second_completion_is_dropped()
    {
        using var bench = new Bench();
        bench.Handler.KeepsRequests = true;
        bench.Start();
        Send(bench, 1);
        bench.Reactor.Turn();
        var request = bench.Handler.Kept(0);
        bench.Reactor.Invoke(() =>
        {
            bench.Handler.Queue!.Complete(request, 0);
            bench.Handler.Queue!.Complete(request, 0);
            bench.Handler.Queue!.Flush();
            bench.Handler.Queue!.Complete(request, 0);
            bench.Handler.Queue!.Flush();
        });
        Assert.Equal(1, Reap(bench));
        Assert.Equal(2, bench.Handler.Queue!.Statistics.DroppedCompletionCount);
    }

    [Fact]
    public void A_former_map_is_let_go_when_its_last_request_is_back()
    {
        using var bench = new Bench();
        bench.Handler.KeepsRequests = true;
        bench.Start();
        Send(bench, 2);
        bench.Reactor.Turn();
        var swap = Swap(bench, bench.Ram.Map, Token);
        bench.Reactor.TurnUntilIdle();
        Assert.False(swap.IsCompleted);
        // Requests of the new map do not keep the old one.
        Send(bench, 1);
        bench.Reactor.TurnUntil(() => bench.Handler.KeptCount == 3);
        bench.Reactor.Invoke(() => bench.Handler.Release(0));
        bench.Reactor.TurnUntilIdle();
        Assert.False(swap.IsCompleted);
        bench.Reactor.Invoke(() => bench.Handler.Release(0));
        Assert.Equal(0, bench.Reactor.Run(new ValueTask<int>(swap)));
        Assert.Equal(1, bench.Handler.KeptCount);
        bench.Reactor.Invoke(() => bench.Handler.Release(0));
        Assert.Equal(3, Reap(bench));
    }

    [Fact]
    public void A_swap_that_is_not_waited_for_says_how_many_requests_use_the_former_map()
    {
        using var bench = new Bench();
        bench.Handler.KeepsRequests = true;
        bench.Start();
        Send(bench, 2);
        bench.Reactor.Turn();
        using var limit = new CancellationTokenSource(50);
        Assert.Equal(2, bench.Reactor.Run(new ValueTask<int>(Swap(bench, bench.Ram.Map, limit.Token))));
        bench.Reactor.Invoke(() => bench.Handler.Release(0, 1));
        Assert.Equal(0, bench.Reactor.Run(new ValueTask<int>(Swap(bench, bench.Ram.Map, Token))));
    }

    [Fact]
    public void Memory_that_went_is_out_of_range_and_a_ring_that_went_breaks_its_queue()
    {
        using var bench = new Bench().Start();
        var without = new GuestMemoryMap(bench.Ram.Map.Regions.Where(region => region.GuestAddress != 0x1_0000_0000));
        var far = 0x1_0000_0000UL;
        var answer = bench.Ram.Allocate(1);
        void SendFar() => Assert.True(bench.Driver.TryAdd([new DriverSegment(far, 1)], [new DriverSegment(answer, 1)], 1) && (bench.Driver.Publish() || true));
        SendFar();
        bench.Reactor.TurnUntil(() => bench.Driver.HasUsed);
        Assert.Empty(bench.Handler.Faults);
        Assert.Equal(0, bench.Reactor.Run(new ValueTask<int>(Swap(bench, without, Token))));
        SendFar();
        bench.Reactor.TurnUntilIdle();
        Assert.Equal([ChainFault.AddressOutOfRange], bench.Handler.Faults);
        Assert.Equal(0, bench.Reactor.Run(bench.Session.SetMemoryAsync(without, new Dictionary<int, VirtqueueAddresses>(), Token)));
        Assert.Equal("the new memory map has no place for the ring", bench.BrokenReason());
        Send(bench, 1);
        bench.Reactor.TurnUntilIdle();
        Assert.Equal(2, Reap(bench));
        Assert.Equal(0, bench.Stop().AbandonedRequestCount);
    }

    [Fact]
    public void Memory_that_may_only_be_read_is_not_written()
    {
        using var bench = new Bench().Start();
        var readOnly = new GuestMemoryMap(bench.Ram.Map.Regions.Select(region => region with { IsWritable = region.GuestAddress != 0x1_0000_0000 }));
        Assert.Equal(0, bench.Reactor.Run(new ValueTask<int>(Swap(bench, readOnly, Token))));
        var answer = bench.Ram.Allocate(1);
        Assert.True(bench.Driver.TryAdd([], [new DriverSegment(0x1_0000_0000, 8), new DriverSegment(answer, 1)], 1));
        bench.Driver.Publish();
        bench.Reactor.TurnUntilIdle();
        Assert.Equal([ChainFault.MemoryNotWritable], bench.Handler.Faults);
        Assert.Equal(new byte[8], bench.Ram.Span(0x1_0000_0000, 8));
    }

    [Fact]
    public void A_paused_queue_is_taken_from_on_demand()
    {
        using var bench = new Bench();
        bench.Start();
        bench.Reactor.Invoke(bench.Handler.Queue!.Pause);
        Send(bench, 3);
        bench.Reactor.TurnUntilIdle();
        Assert.True(bench.Reactor.IsAsleep);
        Assert.Equal(0, bench.Handler.HandledCount);
        bench.Reactor.Invoke(() =>
        {
            var queue = bench.Handler.Queue!;
            Assert.True(queue.TryTake(out var request));
            Assert.True(request->IsUnderWay);
            queue.Complete(request, 0);
            queue.Flush();
        });
        Assert.Equal(1, Reap(bench));
        bench.Reactor.Invoke(bench.Handler.Queue!.Resume);
        bench.Reactor.TurnUntilIdle();
        Assert.Equal(2, bench.Handler.HandledCount);
        Assert.False(bench.Handler.Queue!.TryTake(out _));
    }

    [Theory]
    [InlineData(4, 16, VirtqueueFormat.Split, 0, "there is no queue 4")]
    [InlineData(0, 16, VirtqueueFormat.Split, 0, "runs already")]
    [InlineData(1, 12, VirtqueueFormat.Split, 0, "no power of two")]
    [InlineData(1, 0, VirtqueueFormat.Split, 0, "impossible size")]
    [InlineData(1, 65536, VirtqueueFormat.Split, 0, "impossible size")]
    [InlineData(1, 16, VirtqueueFormat.Packed, 0, "not what was negotiated")]
    [InlineData(1, 16, VirtqueueFormat.Split, 2, "not a multiple")]
    public void An_impossible_set_up_is_refused(int index, int size, VirtqueueFormat format, int offset, string reason)
    {
        using var bench = new Bench().Start();
        var setup = bench.Queue.Setup() with { QueueIndex = index, Size = size, Format = format };
        setup = setup with { Addresses = setup.Addresses with { Descriptors = setup.Addresses.Descriptors + offset } };
        var error = Assert.Throws<ArgumentException>(() => bench.Reactor.Run(bench.Session.StartQueueAsync(setup, Token)));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => bench.Session.SetFeatures(1UL << 63));
    }

    private static Bench Keeping(out Task<VirtqueueStop> stop, int requests, int limitMs = 60_000)
    {
        var bench = new Bench();
        bench.Handler.KeepsRequests = true;
        bench.Start();
        Send(bench, requests);
        bench.Reactor.Turn();
        Assert.Equal(requests, bench.Handler.KeptCount);
        stop = bench.Session.StopQueueAsync(0, new CancellationTokenSource(limitMs).Token).AsTask();
        return bench;
    }

    private static Task<int> Swap(Bench bench, GuestMemoryMap map, CancellationToken token) =>
        bench.Session.SetMemoryAsync(map, new Dictionary<int, VirtqueueAddresses> { [0] = bench.Queue.Addresses }, token).AsTask();

    private static void Send(Bench bench, int count)
    {
        var buffer = bench.Ram.Allocate(16);
        for (var i = 0; i < count; i++)
        {
            Assert.True(bench.Driver.TryAdd([new DriverSegment(buffer, 8)], [new DriverSegment(buffer + 8, 8)], 0));
        }

        bench.Driver.Publish();
    }

    private static int Reap(Bench bench)
    {
        var count = 0;
        while (bench.Driver.TryGetUsed(out _, out _))
        {
            count++;
        }

        Assert.Null(bench.Driver.BrokenReason);
        return count;
    }
}
