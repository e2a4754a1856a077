using CsCheck;
using Vhost.Abstractions;

namespace Vhost.Virtio.Tests;

public sealed class RoundTripTests
{
    public static TheoryData<VirtqueueFormat, ulong, int> Rings => new()
    {
        { VirtqueueFormat.Split, 0, 0 },
        { VirtqueueFormat.Split, VirtioFeatures.EventIndex, 0 },
        { VirtqueueFormat.Split, VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex, 64 },
        { VirtqueueFormat.Packed, 0, 0 },
        { VirtqueueFormat.Packed, VirtioFeatures.EventIndex, 0 },
        { VirtqueueFormat.Packed, VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex, 64 },
    };

    [Theory]
    [MemberData(nameof(Rings))]
    public void One_request_goes_there_and_back(VirtqueueFormat format, ulong features, int tableEntries)
    {
        using var bench = new Bench(format, 16, features, tableEntries).Start();
        for (var i = 0; i < 100; i++)
        {
            var written = bench.Echo([1, 2, (byte)i], 5, out var answer);
            Assert.Equal(3U, written);
            Assert.Equal([254, 253, (byte)~i, 0, 0], answer);
        }
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void Any_layout_gives_the_same_bytes(VirtqueueFormat format, ulong features, int tableEntries)
    {
        // Lengths of the pieces of each request of a round, on either side; pieces are cut anywhere, also across the regions' border.
        var pieces = Gen.Int[1, 700].Array[0, 12];
        var requests = Gen.Select(pieces, pieces).Where(pair => pair.Item1.Length + pair.Item2.Length > 0).Array[1, 12];
        Gen.Select(requests, Gen.Int[3, 6].Select(power => 1 << power), Gen.Int[0, 65535], Gen.Int[0, int.MaxValue]).Sample(
            sample =>
            {
                var (round, size, start, seed) = sample;
                using var bench = new Bench(format, Math.Max(size, 32), features, tableEntries, ramBytes: 1 << 20);
                bench.Handler.KeepsRequests = false;
                bench.Start();
                RoundTrips.Run(bench, round, new Random(seed), repeat: 6);
            },
            iter: 60);
    }

    [Theory]
    [InlineData(VirtqueueFormat.Split)]
    [InlineData(VirtqueueFormat.Packed)]
    public void Requests_may_complete_in_any_order(VirtqueueFormat format) => Gen.Int[0, int.MaxValue].Sample(
        seed =>
        {
            using var bench = new Bench(format, 8);
            bench.Handler.KeepsRequests = true;
            bench.Start();
            var random = new Random(seed);
            var underWay = new Dictionary<ulong, (ulong Target, byte Value)>();
            var buffer = bench.Ram.Allocate(64 * 16, 1);
            ulong next = 0;
            for (var step = 0; step < 300; step++)
            {
                while (random.Next(3) != 0)
                {
                    var source = buffer + (next % 64 * 16);
                    bench.Ram.Span(source, 1)[0] = (byte)random.Next(256);
                    var value = (byte)~bench.Ram.Span(source, 1)[0];
                    if (!bench.Driver.TryAdd([new DriverSegment(source, 1)], [new DriverSegment(source + 8, 1)], next))
                    {
                        break;
                    }

                    underWay.Add(next, (source + 8, value));
                    next++;
                }

                bench.Driver.Publish();
                bench.Reactor.Turn();
                var order = Enumerable.Range(0, bench.Handler.KeptCount).Where(_ => random.Next(2) == 0).ToArray();
                random.Shuffle(order);
                bench.Reactor.Invoke(() => bench.Handler.Release(order));
                while (bench.Driver.TryGetUsed(out var token, out var written))
                {
                    Assert.Equal(1U, written);
                    Assert.True(underWay.Remove(token, out var expected));
                    Assert.Equal(expected.Value, bench.Ram.Span(expected.Target, 1)[0]);
                }

                Assert.Null(bench.Driver.BrokenReason);
                Assert.Equal(bench.Handler.KeptCount, underWay.Count);
            }

            Assert.True(next > 50);
            bench.Reactor.Invoke(() => bench.Handler.Release([.. Enumerable.Range(0, bench.Handler.KeptCount)]));
        },
        iter: 30);
}
