using Vhost.Abstractions;
using Vhost.Testing;
using static Vhost.VhostBlk.Tests.BlkWire;

namespace Vhost.VhostBlk.Tests;

/// <summary>Secure erase (virtio 1.3, section 5.2.6), and the requests of features that are not offered.</summary>
public sealed class SecureEraseTests
{
    private const ulong FeatureLifetime = 1UL << 15;
    private const ulong FeatureSecureErase = 1UL << 16;
    private const ulong FeatureZoned = 1UL << 17;

    private static MemoryBdevPort InPlace(ulong blockCount = 2048)
    {
        var port = new MemoryBdevPort(blockCount: blockCount);
        port.Change(port.Info! with { ZeroingErases = true }, BdevChange.Changed);
        return port;
    }

    [Fact]
    public void Blocks_are_overwritten_and_durable()
    {
        using var port = InPlace();
        using var bench = new BlkBench(port);
        Assert.NotEqual(0UL, bench.Device.OfferedFeatures & FeatureSecureErase);
        port.Data.Fill(0xAA);
        Assert.Equal(Ok, bench.Send(SecureErase, 0, BlkBench.Range(8, 8, 0), BlkBench.Range(100, 1, 0)));
        Assert.Equal(2, port.Counts[(int)BlockOperation.WriteZeroes]);
        Assert.Equal((2, 0), (port.ForceUnitAccessCount, port.MayUnmapCount));
        for (var sector = 0; sector < 2048; sector++)
        {
            Assert.Equal(sector is >= 8 and < 16 or 100 ? 0 : 0xAA, port.Data[sector * 512]);
        }
    }

    [Fact]
    public void Its_limits_hold()
    {
        using var port = InPlace((256 << 11) + 8);
        using var bench = new BlkBench(port);
        port.IsNull = true;
        var maxSectors = BitConverter.ToUInt32(bench.Config(60, 4));
        var maxRanges = BitConverter.ToInt32(bench.Config(64, 4));
        Assert.Equal((32u << 11, 16, 1u), (maxSectors, maxRanges, BitConverter.ToUInt32(bench.Config(68, 4))));
        Assert.Equal(Ok, bench.Send(SecureErase, 0, [.. Enumerable.Range(0, maxRanges).Select(i => BlkBench.Range((ulong)i, maxSectors, 0))]));
        var done = port.Counts.Sum();
        Assert.Equal(IoError, bench.Send(SecureErase, 0, BlkBench.Range(0, maxSectors + 1, 0)));
        Assert.Equal(IoError, bench.Send(SecureErase, 0, [.. Enumerable.Range(0, maxRanges + 1).Select(i => BlkBench.Range((ulong)i, 1, 0))]));
        Assert.Equal(IoError, bench.Send(SecureErase, 0, BlkBench.Range(0, 0, 0)));
        Assert.Equal(Unsupported, bench.Send(SecureErase, 0, BlkBench.Range(0, 1, 1)));
        Assert.Equal(done, port.Counts.Sum());
    }

    [Theory]
    [InlineData(false, MemoryBdevPort.AllOperations)]
    [InlineData(true, BlockOperations.Read | BlockOperations.Write)]
    public void Where_nothing_can_be_promised_it_is_neither_offered_nor_done(bool isInPlace, BlockOperations operations)
    {
        using var port = new MemoryBdevPort(operations: operations);
        port.Change(port.Info! with { ZeroingErases = isInPlace }, BdevChange.Changed);
        using var bench = new BlkBench(port);
        Assert.Equal(0UL, bench.Device.OfferedFeatures & FeatureSecureErase);
        Assert.Equal(new byte[12], bench.Config(60, 12));
        Assert.Equal(Unsupported, bench.Send(SecureErase, 0, BlkBench.Range(0, 1, 0)));
        Assert.Equal(0, port.Counts.Sum());
    }

    [Fact]
    public void A_read_only_disk_is_not_erased()
    {
        using var port = InPlace();
        using var bench = new BlkBench(port, new() { Bdev = port.Name, ReadOnly = true });
        Assert.Equal(0UL, bench.Device.OfferedFeatures & FeatureSecureErase);
        Assert.Equal(IoError, bench.Send(SecureErase, 0, BlkBench.Range(0, 1, 0)));
    }

    // GET_LIFETIME, and the requests of zoned devices: append, report, open, close, finish, reset, reset all.
    [Theory]
    [InlineData(10u)]
    [InlineData(15u)]
    [InlineData(16u)]
    [InlineData(18u)]
    [InlineData(20u)]
    [InlineData(22u)]
    [InlineData(24u)]
    [InlineData(26u)]
    [InlineData(2u)]
    [InlineData(uint.MaxValue)]
    public void Requests_of_features_that_are_not_offered_are_unsupported(uint type)
    {
        using var port = InPlace();
        using var bench = new BlkBench(port);
        Assert.Equal(0UL, bench.Device.OfferedFeatures & (FeatureLifetime | FeatureZoned));
        Assert.Equal(Unsupported, bench.Send(type, 0, new byte[512]));
        Assert.Equal(Unsupported, bench.Send(type, 0));
        Assert.Equal(0, port.Counts.Sum());
    }
}
