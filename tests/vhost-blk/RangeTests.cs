using Vhost.Abstractions;
using Vhost.Testing;
using static Vhost.VhostBlk.Tests.BlkWire;

namespace Vhost.VhostBlk.Tests;

public sealed class RangeTests
{
    [Theory]
    [InlineData(Discard, BlockOperation.Discard)]
    [InlineData(WriteZeroes, BlockOperation.WriteZeroes)]
    public void Several_ranges_are_done_one_after_the_other(uint type, BlockOperation operation)
    {
        using var bench = new BlkBench();
        bench.Port.Data.Fill(0xaa);
        Assert.Equal(Ok, bench.Send(type, 0, BlkBench.Range(8, 8, 0), BlkBench.Range(100, 1, 0), BlkBench.Range(2047, 1, 0)));
        Assert.Equal(3, bench.Port.Counts[(int)operation]);
        for (var sector = 0; sector < 2048; sector++)
        {
            var expected = sector is >= 8 and < 16 or 100 or 2047 ? 0 : 0xaa;
            Assert.Equal(expected, bench.Port.Data[sector * 512]);
            Assert.Equal(expected, bench.Port.Data[(sector * 512) + 511]);
        }
    }

    [Fact]
    public void Nothing_is_done_if_one_range_is_wrong()
    {
        using var bench = new BlkBench();
        Assert.Equal(IoError, bench.Send(WriteZeroes, 0, BlkBench.Range(0, 8, 0), BlkBench.Range(2048, 1, 0)));
        Assert.Equal(IoError, bench.Send(Discard, 0, BlkBench.Range(0, 8, 0), BlkBench.Range(ulong.MaxValue, uint.MaxValue, 0)));
        Assert.Equal(IoError, bench.Send(Discard, 0, BlkBench.Range(0, 0, 0)));
        Assert.Equal(0, bench.Port.Counts.Sum());
    }

    [Fact]
    public void Unknown_flags_are_unsupported_and_so_is_unmap_for_discard()
    {
        using var bench = new BlkBench();
        Assert.Equal(Unsupported, bench.Send(WriteZeroes, 0, BlkBench.Range(0, 8, 2)));
        Assert.Equal(Unsupported, bench.Send(WriteZeroes, 0, BlkBench.Range(99999, 8, 0), BlkBench.Range(0, 8, 0x8000_0000)));
        Assert.Equal(Unsupported, bench.Send(Discard, 0, BlkBench.Range(0, 8, 1)));
        Assert.Equal(0, bench.Port.Counts.Sum());
        Assert.Equal(Ok, bench.Send(WriteZeroes, 0, BlkBench.Range(0, 8, 1)));
        Assert.Equal(1, bench.Port.MayUnmapCount);
    }

    [Fact]
    public void The_limits_in_the_configuration_space_are_enforced()
    {
        using var port = new MemoryBdevPort(blockSizeBytes: 512, blockCount: (256 << 11) + 8);
        using var bench = new BlkBench(port);
        bench.Port.IsNull = true;
        var maxDiscard = BitConverter.ToUInt32(bench.Config(36, 4));
        var maxRanges = BitConverter.ToInt32(bench.Config(40, 4));
        var maxZeroes = BitConverter.ToUInt32(bench.Config(48, 4));
        Assert.Equal(maxRanges, BitConverter.ToInt32(bench.Config(52, 4)));
        Assert.Equal(Ok, bench.Send(Discard, 0, BlkBench.Range(0, maxDiscard, 0)));
        Assert.Equal(IoError, bench.Send(Discard, 0, BlkBench.Range(0, maxDiscard + 1, 0)));
        Assert.Equal(Ok, bench.Send(WriteZeroes, 0, BlkBench.Range(0, maxZeroes, 0)));
        Assert.Equal(IoError, bench.Send(WriteZeroes, 0, BlkBench.Range(0, maxZeroes + 1, 0)));
        var ranges = Enumerable.Range(0, maxRanges).Select(i => BlkBench.Range((ulong)i, 1, 0)).ToArray();
        Assert.Equal(Ok, bench.Send(Discard, 0, ranges));
        Assert.Equal(IoError, bench.Send(Discard, 0, [.. ranges, BlkBench.Range(0, 1, 0)]));
        Assert.Equal(IoError, bench.Send(Discard, 0, new byte[15]));
        Assert.Equal(IoError, bench.Send(Discard, 0, new byte[17]));
        Assert.Equal(IoError, bench.Send(Discard, 0));
        Assert.Equal(1 + maxRanges, bench.Port.Counts[(int)BlockOperation.Discard]);
    }

    [Fact]
    public void A_failure_in_the_middle_ends_the_request()
    {
        using var bench = new BlkBench();
        bench.Port.Fault = (_, start) => start == 100 ? BlockStatus.IoError : null;
        Assert.Equal(IoError, bench.Send(Discard, 0, BlkBench.Range(0, 8, 0), BlkBench.Range(100, 8, 0), BlkBench.Range(200, 8, 0)));
        Assert.Equal(2, bench.Port.Counts[(int)BlockOperation.Discard]);
    }

    [Fact]
    public void What_the_bdev_cannot_do_is_neither_offered_nor_done()
    {
        using var bench = new BlkBench(new MemoryBdevPort(operations: BlockOperations.Read | BlockOperations.Write | BlockOperations.Flush));
        Assert.Equal(0UL, bench.Features & (BlkBench.FeatureDiscard | BlkBench.FeatureWriteZeroes));
        Assert.Equal(Unsupported, bench.Send(Discard, 0, BlkBench.Range(0, 8, 0)));
        Assert.Equal(Unsupported, bench.Send(WriteZeroes, 0, BlkBench.Range(0, 8, 0)));
    }

    [Fact]
    public void Ranges_are_whole_blocks()
    {
        using var bench = new BlkBench(new MemoryBdevPort(blockSizeBytes: 4096, blockCount: 64));
        Assert.Equal(Ok, bench.Send(WriteZeroes, 0, BlkBench.Range(8, 16, 0)));
        Assert.Equal(IoError, bench.Send(WriteZeroes, 0, BlkBench.Range(4, 8, 0)));
        Assert.Equal(IoError, bench.Send(WriteZeroes, 0, BlkBench.Range(8, 4, 0)));
    }
}
