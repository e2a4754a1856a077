using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.Virtio.Tests;

/// <summary>Queues whose start takes longer than anybody waits for.</summary>
public sealed class StartTests
{
    [Theory]
    [InlineData(VirtqueueFormat.Split)]
    [InlineData(VirtqueueFormat.Packed)]
    public async Task A_queue_whose_start_was_given_up_touches_nothing_when_its_reactor_comes_to_it(VirtqueueFormat format)
    {
        using var bench = new Bench(format);
        var setup = bench.Queue.Setup();
        await GiveUpStartAsync(bench, setup);
        var handler = bench.Handler;
        Assert.Equal(new VirtqueueStop(default, 0), await bench.Session.StopQueueAsync(0, TestContext.Current.CancellationToken));

        // A driver's next life lies where the ring was: nothing of it is read as a ring, or written.
        Fill(bench, 0xee);
        bench.Reactor.TurnUntilIdle();
        Assert.Equal(-1, Descriptors(bench).IndexOfAnyExcept((byte)0xee));
        Assert.Equal(-1, Device(bench).IndexOfAnyExcept((byte)0xee));
        Assert.Equal((0, 1, 0), (handler.AttachCount, handler.DetachCount, bench.Reactor.PollerCount));
        Assert.Empty(bench.FrontEnd.BrokenQueues);

        Fill(bench, 0);
        bench.Start();
        bench.Echo([1], 1, out var answer);
        Assert.Equal([254], answer);
    }

    [Fact]
    public async Task A_queue_that_does_not_return_from_its_start_keeps_what_it_uses()
    {
        using var bench = new Bench();
        using var isAttaching = new ManualResetEventSlim();
        using var mayGoOn = new ManualResetEventSlim();
        bench.Handler.OnAttach = () =>
        {
            isAttaching.Set();
            mayGoOn.Wait(TimeSpan.FromSeconds(120), TestContext.Current.CancellationToken);
        };
        using var limit = new CancellationTokenSource();
        var start = bench.Session.StartQueueAsync(bench.Queue.Setup(), limit.Token).AsTask();
        var reactor = Task.Factory.StartNew(bench.Reactor.TurnUntilIdle, TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        isAttaching.Wait(TestContext.Current.CancellationToken);
        await limit.CancelAsync();
        await Assert.ThrowsAsync<OperationCanceledException>(() => start);

        // What the start uses is in use, though nothing is under way.
        var stop = await bench.Session.StopQueueAsync(0, limit.Token);
        Assert.Equal(1, stop.AbandonedRequestCount);
        Assert.Equal(0, bench.Handler.DetachCount);
        mayGoOn.Set();
        await reactor;
        bench.Reactor.TurnUntilIdle();
        Assert.Equal((1, 1, 0), (bench.Handler.AttachCount, bench.Handler.DetachCount, bench.Reactor.PollerCount));
    }

    [Fact]
    public void A_queue_that_cannot_be_moved_in_time_goes_on_where_it_was()
    {
        using var bench = new Bench().Start();
        var held = new ManualReactor(1);
        var move = bench.Session.MoveAsync([held], TestContext.Current.CancellationToken).AsTask();
        bench.Reactor.TurnUntil(() => move.IsCompleted);
        Assert.Contains("stays on reactor 0", Assert.IsType<TimeoutException>(move.Exception!.InnerException).Message, StringComparison.Ordinal);
        bench.Echo([1], 1, out var answer);
        Assert.Equal([254], answer);

        // The other reactor comes back, and has nothing to do with it.
        held.TurnUntilIdle();
        Assert.Equal(0, held.PollerCount);
        Assert.Empty(bench.FrontEnd.BrokenQueues);
        bench.Echo([2], 1, out answer);
        Assert.Equal([253], answer);
    }

    [Fact]
    public void A_queue_that_no_reactor_takes_is_told_to_the_front_end()
    {
        using var bench = new Bench().Start();
        bench.RefusesHandlers = true;
        var move = bench.Session.MoveAsync([new ManualReactor(1)], TestContext.Current.CancellationToken).AsTask();
        bench.Reactor.TurnUntil(() => move.IsCompleted);
        Assert.Contains("is stopped", Assert.IsType<TimeoutException>(move.Exception!.InnerException).Message, StringComparison.Ordinal);
        Assert.Contains("neither on reactor 1", bench.BrokenReason(), StringComparison.Ordinal);
    }

    private static unsafe Span<byte> Descriptors(Bench bench) => new(bench.Queue.Memory.Descriptors, 16 * 16);

    private static unsafe Span<byte> Device(Bench bench) => new(bench.Queue.Memory.Device, 4);

    private static void Fill(Bench bench, byte value)
    {
        Descriptors(bench).Fill(value);
        Device(bench).Fill(value);
    }

    private static async Task GiveUpStartAsync(Bench bench, VirtqueueSetup setup)
    {
        using var limit = new CancellationTokenSource();
        var start = bench.Session.StartQueueAsync(setup, limit.Token).AsTask();
        await limit.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => start);
    }
}
