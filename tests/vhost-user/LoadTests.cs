using CsCheck;
using Vhost.Abstractions;
using Vhost.Bench;
using Vhost.Testing.FrontEnd;

namespace Vhost.VhostUser.Tests;

/// <summary>The load generator with tiny loads, against a real device.</summary>
public sealed class LoadTests
{
    [Theory]
    [InlineData(VirtqueueFormat.Split, 1, 1, 100, false, false)]
    [InlineData(VirtqueueFormat.Split, 16, 3, 50, true, false)]
    [InlineData(VirtqueueFormat.Packed, 16, 2, 50, true, false)]
    [InlineData(VirtqueueFormat.Split, 4, 2, 50, true, true)]
    [InlineData(VirtqueueFormat.Packed, 4, 1, 0, false, true)]
    public async Task A_load_completes_without_error_and_without_allocation(
        VirtqueueFormat format, int depth, int queues, int readPercent, bool verifies, bool usesInterrupts)
    {
        await using var server = await BlkServer.StartAsync();
        using var generator = new LoadGenerator(Options(server) with
        {
            Format = format,
            QueueDepth = depth,
            QueueCount = queues,
            ReadPercent = readPercent,
            Verifies = verifies,
            UsesInterrupts = usesInterrupts,
            UsesIndirect = format == VirtqueueFormat.Packed,
        });
        var result = await RunAsync();

        // What requests allocate they allocate in every run; what the runtime allocates for its own sake, in one.
        for (var again = 0; again < 3 && result.AllocatedBytes != 0; again++)
        {
            result = await RunAsync();
        }

        Assert.True(result.Requests > depth);
        Assert.Equal(0, result.Errors);
        Assert.Equal(verifies, result.Verified > 0);
        Assert.Equal(0, result.AllocatedBytes);
        Assert.True(result.P50Microseconds <= result.P99Microseconds && result.P99Microseconds <= result.P999Microseconds);
        Assert.True(result.P999Microseconds <= result.MaxMicroseconds);

        Task<LoadResult> RunAsync() =>
            Task.Factory.StartNew(generator.Run, TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    [Fact]
    public async Task Data_that_changes_behind_the_back_of_a_verifying_load_is_found()
    {
        await using var server = await BlkServer.StartAsync();
        using var generator = new LoadGenerator(Options(server) with { QueueDepth = 4, ReadPercent = 50, Verifies = true, Seconds = 20, SizeBytes = 1 << 20 });
        var run = Task.Factory.StartNew(generator.Run, TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        await Task.Delay(500, TestContext.Current.CancellationToken);
        while (!run.IsCompleted)
        {
            server.Port.Data[..(1 << 20)].Fill(0xee);
            await Task.Delay(1, TestContext.Current.CancellationToken);
        }

        var fault = await Assert.ThrowsAsync<FrontEndException>(() => run);
        Assert.Contains("wrong data", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_load_tells_of_failing_requests()
    {
        await using var server = await BlkServer.StartAsync();
        server.Port.Fault = (_, offset) => BlockStatus.IoError;
        using var generator = new LoadGenerator(Options(server) with { WarmUpSeconds = 0 });
        Assert.Contains("requests failed", Assert.Throws<FrontEndException>(() => generator.Run()).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_load_ends_when_its_server_is_gone(bool usesInterrupts)
    {
        await using var server = await BlkServer.StartAsync();
        using var generator = new LoadGenerator(Options(server) with { QueueDepth = 4, UsesInterrupts = usesInterrupts, Seconds = 3600 });
        var run = Task.Factory.StartNew(generator.Run, TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        await TransportHarness.WaitForAsync(() => server.Port.Counts.Sum() > 100, "the load runs");
        await server.Harness.Transport.StopAsync(CancellationToken.None);
        var fault = await Assert.ThrowsAsync<FrontEndException>(() => run.WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken));
        Assert.Contains("the server closed the connection", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Percentiles_are_those_of_a_sorted_list_within_the_width_of_a_bucket() =>
        Gen.Select(Gen.Long[0, 1L << 40].Array[1, 200], Gen.Double[0.01, 1]).Sample((values, share) =>
        {
            var histogram = new LatencyHistogram();
            foreach (var value in values)
            {
                histogram.Record(value);
            }

            Array.Sort(values);
            var expected = values[(int)Math.Ceiling(share * values.Length) - 1];
            var actual = histogram.Percentile(share);
            return actual >= expected && actual <= expected + (expected / 32) + 1 && histogram.Max == values[^1];
        });

    [Fact]
    public void A_verifier_tells_right_data_from_late_torn_and_misplaced_data()
    {
        var verifier = new BlockVerifier(8);
        var first = new byte[4096];
        var second = new byte[4096];
        var elsewhere = new byte[4096];
        verifier.Fill(3, first);
        verifier.Fill(4, elsewhere);
        Assert.Null(verifier.Check(3, first));
        Assert.NotNull(verifier.Check(3, elsewhere));
        verifier.Fill(3, second);
        Assert.Null(verifier.Check(3, second));
        Assert.NotNull(verifier.Check(3, first));
        first.AsSpan(2048).CopyTo(second.AsSpan(2048));
        Assert.NotNull(verifier.Check(3, second));
        Assert.True(verifier.TryTake(5));
        Assert.False(verifier.TryTake(5));
    }

    private static LoadOptions Options(BlkServer server) => new()
    {
        Socket = server.Harness.Socket, QueueSize = 64, BlockSizeBytes = 4096, Seconds = 1, WarmUpSeconds = 0.5,
    };
}
