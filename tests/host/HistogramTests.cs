using CsCheck;
using Vhost.Abstractions;
using Vhost.Host.Bdevs;

namespace Vhost.Host.Tests;

/// <summary>Latency histograms, and statistics that are set back.</summary>
public sealed class HistogramTests : IDisposable
{
    private readonly SteppedReactor _reactor = new();
    private readonly BdevRegistry _registry = new(new TestLog());
    private readonly RequestArena _arena = new(64);
    private readonly FaultyBdev _bdev = new("b", 64, BlockOperations.Read | BlockOperations.Write) { CompletesAtOnce = true };

    public HistogramTests() => _registry.CreatePublisher("source", new BdevDeclaration { PublishedNames = ["b"] }).Publish(_bdev);

    private BdevPort Port => _registry.GetPort("b");

    public void Dispose() => _arena.Dispose();

    /// <summary>Each latency lies between the end of the bucket before its own and the end of its own, for every granularity.</summary>
    [Fact]
    public void Buckets_follow_each_other_without_gaps() =>
        Gen.Select(Gen.Int[1, HistogramSettings.MaxGranularity], Gen.ULong).Sample((granularity, ticks) =>
        {
            var settings = new HistogramSettings(granularity);
            Assert.Equal((0, 64 - granularity, (65 - granularity) << granularity), (settings.MinRange, settings.MaxRange, settings.BucketCount));
            foreach (var value in new[] { ticks, ticks >> 20, ticks >> 40, ticks >> 60, 0UL, 1UL, ulong.MaxValue })
            {
                var bucket = settings.BucketOf(value);
                Assert.InRange(bucket, 0, settings.BucketCount - 1);
                Assert.True(value < settings.EndOf(bucket) || (value == ulong.MaxValue && bucket == settings.BucketCount - 1));
                Assert.True(bucket == 0 || value >= settings.EndOf(bucket - 1));
            }
        });

    [Theory]
    [InlineData(0UL, 0)]
    [InlineData(127UL, 127)]
    [InlineData(128UL, 128)]
    [InlineData(255UL, 255)]
    [InlineData(256UL, 256)]
    [InlineData(257UL, 256)]
    [InlineData(258UL, 257)]
    [InlineData(511UL, 383)]
    [InlineData(512UL, 384)]
    [InlineData(1_000_000UL, 1780)]
    public void Buckets_are_those_of_SPDK(ulong ticks, int bucket) => Assert.Equal(bucket, new HistogramSettings().BucketOf(ticks));

    [Fact]
    public void Latencies_beyond_the_borders_are_in_the_outer_buckets()
    {
        var settings = new HistogramSettings(7, 1000, 1_000_000);
        Assert.Equal((3, 13), (settings.MinRange, settings.MaxRange));
        Assert.Equal((0, 0, settings.BucketCount - 1), (settings.BucketOf(0), settings.BucketOf(300), settings.BucketOf(10_000_000)));
    }

    [Fact]
    public void Counting_is_switched_on_live_for_a_bdev_and_for_one_of_its_users()
    {
        var owner = new ChannelGroup();
        var owned = new OwnedPort(Port, owner).OpenChannel(_reactor, _arena);
        var other = Port.OpenChannel(_reactor, _arena);
        Submit(owned, 10);
        Assert.Null(Port.Channels.GetHistogram());
        Port.Channels.SetHistogram(new HistogramSettings());
        Assert.Equal(0UL, Port.Channels.GetHistogram()!.Total);
        Submit(owned, 10);
        Submit(other, 5);
        Assert.Equal(15UL, Port.Channels.GetHistogram()!.Total);
        owner.SetHistogram(new HistogramSettings(8));
        Submit(owned, 3);
        Submit(other, 3);
        Assert.Equal((21UL, 3UL), (Port.Channels.GetHistogram()!.Total, owner.GetHistogram()!.Total));
        owned.Dispose();
        Assert.Equal((21UL, 3UL, 23UL), (Port.Channels.GetHistogram()!.Total, owner.GetHistogram()!.Total, owner.GetStatistics().Operations[0].Count));
        var before = Port.Channels.GetHistogram()!;
        Submit(other, 4);
        Assert.Equal(4UL, Port.Channels.GetHistogram()!.Since(before).Total);
        Port.Channels.SetHistogram(new HistogramSettings(operation: BlockOperation.Write));
        Submit(other, 4);
        Assert.Equal(0UL, Port.Channels.GetHistogram()!.Total);
        Assert.Equal(39UL, Port.GetStatistics().Operations[0].Count);
        Port.Channels.SetHistogram(null);
        Submit(other, 4);
        Assert.Null(Port.Channels.GetHistogram());
        other.Dispose();
    }

    [Fact]
    public void Percentiles_are_right_to_a_buckets_width()
    {
        var settings = new HistogramSettings();
        var counts = new ulong[settings.BucketCount];
        for (var ticks = 1UL; ticks <= 1_000_000; ticks += 100)
        {
            counts[settings.BucketOf(ticks)]++;
        }

        var histogram = new LatencyHistogram(settings, counts);
        Assert.InRange(histogram.GetPercentile(0.5).TotalMicroseconds, 495, 510);
        Assert.InRange(histogram.GetPercentile(0.99).TotalMicroseconds, 985, 1005);
        Assert.Equal(TimeSpan.Zero, new LatencyHistogram(settings, new ulong[settings.BucketCount]).GetPercentile(0.5));
    }

    [Fact]
    public void Statistics_are_set_back_for_those_who_ask_and_go_on_for_the_others()
    {
        var channel = Port.OpenChannel(_reactor, _arena);
        _bdev.CompletesAtOnce = false;
        Submit(channel, 2);
        _reactor.Step();
        _reactor.Step();
        _bdev.Channels[0].CompleteAll();
        var slow = Port.GetStatisticsSinceReset().Operations[0];
        Assert.Equal((2UL, 2 * SteppedReactor.TicksPerMillisecond), (slow.Count, (long)slow.MaxLatencyTicks));
        _bdev.CompletesAtOnce = true;
        Port.ResetStatistics(extremesOnly: true);
        Assert.Equal((2UL, 0UL, 0UL), (Port.GetStatisticsSinceReset().Operations[0].Count, Port.GetStatisticsSinceReset().Operations[0].MaxLatencyTicks, Port.GetStatisticsSinceReset().Operations[0].MinLatencyTicks));
        Port.ResetStatistics(extremesOnly: false);
        Submit(channel, 3);
        Assert.Equal(3UL, Port.GetStatisticsSinceReset().Operations[0].Count);
        Assert.Equal((3UL, _reactor.Id), (Port.GetStatisticsByChannel()[0].Statistics.Operations[0].Count, Port.GetStatisticsByChannel()[0].Reactor.Id));
        Assert.Equal(5UL, Port.GetStatistics().Operations[0].Count);
        _arena.Prepare(0, BlockOperation.Read, 1000, 1);
        _arena.Submit(channel, 0);
        Assert.Equal((1UL, 1UL), (Port.GetStatisticsSinceReset().Failed, Port.GetStatistics().FailedByStatus[(int)BlockStatus.OutOfRange]));
        channel.Dispose();
    }

    private void Submit(IBdevChannel channel, int count)
    {
        for (var i = 0; i < count; i++)
        {
            _arena.Prepare(i, BlockOperation.Read, (ulong)i, 1);
        }

        _arena.Submit(channel, [.. Enumerable.Range(0, count)]);
    }
}
