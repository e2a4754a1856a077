using System.Buffers.Binary;
using Vhost.Abstractions;
using Vhost.Testing;
using static Vhost.VhostBlk.Tests.BlkWire;

namespace Vhost.VhostBlk.Tests;

/// <summary>GET_LIFETIME (virtio 1.3, section 5.2.6): how worn the medium is.</summary>
public sealed class LifetimeTests
{
    private const ulong FeatureLifetime = 1UL << 15;

    private static MemoryBdevPort Worn(int? usedPercent, int? spareLeftPercent)
    {
        var port = new MemoryBdevPort();
        port.Change(port.Info! with { LifeUsedPercent = usedPercent, SpareLeftPercent = spareLeftPercent }, BdevChange.Warned);
        return port;
    }

    [Theory]
    [InlineData(0, 100, 1, 1)]
    [InlineData(10, 21, 1, 1)]
    [InlineData(11, 20, 2, 2)]
    [InlineData(99, 11, 2, 10)]
    [InlineData(100, 10, 3, 10)]
    [InlineData(101, 0, 3, 11)]
    [InlineData(255, null, 0, 11)]
    public void The_estimate_is_the_bdevs(int usedPercent, int? spareLeftPercent, int endOfLife, int estimate)
    {
        using var port = Worn(usedPercent, spareLeftPercent);
        using var bench = new BlkBench(port);
        Assert.NotEqual(0UL, bench.Device.OfferedFeatures & FeatureLifetime);
        Assert.Equal(Ok, bench.Send(GetLifetime, 0, [], 6, out var answer, out var written));
        Assert.Equal(7u, written);
        Assert.Equal(
            (endOfLife, estimate, estimate),
            (BinaryPrimitives.ReadUInt16LittleEndian(answer), BinaryPrimitives.ReadUInt16LittleEndian(answer.AsSpan(2)), BinaryPrimitives.ReadUInt16LittleEndian(answer.AsSpan(4))));
    }

    [Fact]
    public void The_answer_follows_what_the_bdev_says_and_needs_room()
    {
        using var port = Worn(5, 50);
        using var bench = new BlkBench(port);
        port.Change(port.Info! with { LifeUsedPercent = 42 }, BdevChange.Warned);
        Assert.Equal(0, bench.FrontEnd.ConfigChangeCount);
        Assert.Equal(Ok, bench.Send(GetLifetime, 0, [], 6, out var answer, out _));
        Assert.Equal(5, answer[2]);
        Assert.Equal(IoError, bench.Send(GetLifetime, 0, [], 5, out _, out _));
        Assert.Equal(Ok, bench.Send(GetLifetime, 0, [], 512, out answer, out var written));
        Assert.Equal((6u, (byte)0xcc), (written, answer[6]));
        Assert.Equal(0, port.Counts.Sum());
    }

    [Fact]
    public void It_is_neither_offered_nor_done_where_nothing_is_known()
    {
        using var port = Worn(null, 50);
        using var bench = new BlkBench(port);
        Assert.Equal(0UL, bench.Device.OfferedFeatures & FeatureLifetime);
        Assert.Equal(Unsupported, bench.Send(GetLifetime, 0, [], 6, out _, out _));
    }

    [Fact]
    public void A_read_only_disk_tells_it_as_well()
    {
        using var port = Worn(5, 50);
        using var bench = new BlkBench(port, new() { Bdev = port.Name, ReadOnly = true });
        Assert.NotEqual(0UL, bench.Device.OfferedFeatures & FeatureLifetime);
        Assert.Equal(Ok, bench.Send(GetLifetime, 0, [], 6, out _, out _));
    }
}
