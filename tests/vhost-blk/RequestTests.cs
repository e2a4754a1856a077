using System.Text;
using CsCheck;
using Vhost.Abstractions;
using Vhost.Plugins.VhostBlk;
using Vhost.Testing;
using static Vhost.VhostBlk.Tests.BlkWire;

namespace Vhost.VhostBlk.Tests;

public sealed class RequestTests
{
    [Theory]
    [InlineData(VirtqueueFormat.Split)]
    [InlineData(VirtqueueFormat.Packed)]
    public void What_is_written_is_read(VirtqueueFormat format)
    {
        using var bench = new BlkBench(format: format);
        var data = new byte[4096];
        new Random(1).NextBytes(data);
        Assert.Equal(Ok, bench.Send(Out, 8, data, 0, out _, out var written));
        Assert.Equal(1U, written);
        Assert.Equal(data, bench.Port.Data.Slice(8 * 512, 4096));
        Assert.Equal(Ok, bench.Send(In, 8, [], 4096, out var answer, out written));
        Assert.Equal(4097U, written);
        Assert.Equal(data, answer);
        Assert.Equal(Ok, bench.Send(Flush, 0));
        Assert.Equal(1, bench.Port.Counts[(int)BlockOperation.Flush]);
    }

    [Fact]
    public void Header_data_and_status_may_come_in_any_pieces()
    {
        Gen.Select(Gen.Int[0, int.MaxValue], Gen.Int[1, 8], Gen.Bool).Sample(
            sample =>
            {
                var (seed, sectors, isIndirect) = sample;
                var random = new Random(seed);
                using var bench = new BlkBench(new MemoryBdevPort(blockCount: 64), tableEntries: isIndirect ? 128 : 0);
                var data = new byte[sectors * 512];
                random.NextBytes(data);
                var start = (ulong)random.Next(64 - sectors);
                Assert.Equal(Ok, bench.Send(Cut([.. BlkBench.Header(Out, start), .. data], random), [1], out _, out _));
                Assert.Equal(data, bench.Port.Data.Slice((int)start * 512, data.Length));
                var pieces = Cut(new byte[data.Length + 1], random).Select(piece => piece.Length).ToArray();
                Assert.Equal(Ok, bench.Send(Cut(BlkBench.Header(In, start), random), pieces, out var answer, out var written));
                Assert.Equal(data, answer);
                Assert.Equal((uint)data.Length + 1, written);
            },
            iter: 100);
    }

    [Theory]
    [InlineData(2048UL, 512)] // just behind the end
    [InlineData(2047UL, 1024)] // across the end
    [InlineData(ulong.MaxValue, 512)]
    [InlineData(ulong.MaxValue / 512, 1024)]
    [InlineData(0UL, 511)]
    [InlineData(0UL, 0)]
    public void A_range_that_is_not_the_disk_s_is_an_error(ulong sector, int length)
    {
        using var bench = new BlkBench();
        Assert.Equal(IoError, bench.Send(In, sector, [], length, out var answer, out _));
        Assert.All(answer, value => Assert.Equal(0xcc, value));
        Assert.Equal(IoError, bench.Send(Out, sector, new byte[length]));
        Assert.Equal(0, bench.Port.Counts.Sum());
    }

    [Fact]
    public void Sectors_of_512_bytes_address_blocks_of_4096()
    {
        using var bench = new BlkBench(new MemoryBdevPort(blockSizeBytes: 4096, blockCount: 16));
        var data = new byte[8192];
        new Random(2).NextBytes(data);
        Assert.Equal(Ok, bench.Send(Out, 16, data));
        Assert.Equal(data, bench.Port.Data.Slice(2 * 4096, 8192));
        Assert.Equal(IoError, bench.Send(Out, 4, new byte[4096]));
        Assert.Equal(IoError, bench.Send(Out, 8, new byte[512]));
        Assert.Equal(IoError, bench.Send(In, 128, [], 4096, out _, out _));
        Assert.Equal(Ok, bench.Send(In, 120, [], 4096, out _, out _));
    }

    [Fact]
    public void A_read_only_disk_refuses_what_changes_it()
    {
        using var bench = new BlkBench(options: new BlkOptions { Bdev = "Memory0", ReadOnly = true });
        Assert.NotEqual(0UL, bench.Features & BlkBench.FeatureReadOnly);
        Assert.Equal(0UL, bench.Features & (BlkBench.FeatureDiscard | BlkBench.FeatureWriteZeroes));
        Assert.Equal(IoError, bench.Send(Out, 0, new byte[512]));
        Assert.Equal(IoError, bench.Send(11, 0, BlkBench.Range(0, 8, 0)));
        Assert.Equal(IoError, bench.Send(13, 0, BlkBench.Range(0, 8, 0)));
        Assert.Equal(Ok, bench.Send(In, 0, [], 512, out _, out _));
        Assert.Equal(1, bench.Port.Counts.Sum());
    }

    [Fact]
    public void The_id_is_the_serial_number()
    {
        using var bench = new BlkBench(options: new BlkOptions { Bdev = "Memory0", Serial = "SN-0123456789" });
        Assert.Equal(Ok, bench.Send(GetId, 0, [], 20, out var id, out var written));
        Assert.Equal("SN-0123456789\0\0\0\0\0\0\0", Encoding.ASCII.GetString(id));
        Assert.Equal(21U, written);
        Assert.Equal(Ok, bench.Send([BlkBench.Header(GetId, 0)], [3, 2, 1], out id, out _));
        Assert.Equal("SN-01", Encoding.ASCII.GetString(id));
        using var unnamed = new BlkBench();
        Assert.Equal(Ok, unnamed.Send(GetId, 0, [], 20, out id, out _));
        Assert.Equal("Memory0", Encoding.ASCII.GetString(id).TrimEnd('\0'));
    }

    [Theory]
    [InlineData(14U)]
    [InlineData(10U)]
    [InlineData(0x8000_0000U)]
    [InlineData(uint.MaxValue)]
    public void An_unknown_request_is_unsupported(uint type)
    {
        using var bench = new BlkBench();
        Assert.Equal(Unsupported, bench.Send(type, 0, new byte[512]));
    }

    [Fact]
    public void A_short_header_is_an_error_and_no_status_breaks_the_queue()
    {
        using var bench = new BlkBench();
        Assert.Equal(IoError, bench.Send([[1, 0, 0, 0, 0, 0, 0]], [1], out _, out _));
        Assert.Equal(IoError, bench.Send([], [513], out _, out _));
        Assert.Equal(Ok, bench.Send(Flush, 0));
        bench.Send([BlkBench.Header(Out, 0), new byte[512]], [], out _, out _);
        Assert.True(bench.FrontEnd.BrokenQueues.TryDequeue(out var broken));
        Assert.Equal((0, "a request has no place for its status"), broken);
    }

    [Theory]
    [InlineData(BlockStatus.IoError, IoError)]
    [InlineData(BlockStatus.NoSpace, IoError)]
    [InlineData(BlockStatus.TimedOut, IoError)]
    [InlineData(BlockStatus.Aborted, IoError)]
    [InlineData(BlockStatus.Busy, IoError)]
    [InlineData(BlockStatus.Unsupported, Unsupported)]
    public void A_failure_of_the_bdev_reaches_the_guest(BlockStatus status, byte expected)
    {
        using var bench = new BlkBench();
        bench.Port.Fault = (_, _) => status;
        Assert.Equal(expected, bench.Send(Out, 0, new byte[512]));
        Assert.Equal(expected, bench.Send(In, 0, [], 512, out _, out _));
        Assert.Equal(expected, bench.Send(Flush, 0));
    }

    [Fact]
    public void Without_its_bdev_a_disk_fails_requests_until_it_is_back()
    {
        using var bench = new BlkBench();
        var info = bench.Port.Info;
        bench.Port.Change(null, BdevChange.Removed);
        Assert.Equal(new byte[8], bench.Config(0, 8));
        Assert.Equal(IoError, bench.Send(In, 0, [], 512, out _, out _));
        Assert.Equal(IoError, bench.Send(Flush, 0));
        Assert.Equal(IoError, bench.Send(13, 0, BlkBench.Range(0, 8, 0)));
        bench.Port.Change(info, BdevChange.Appeared);
        Assert.Equal(Ok, bench.Send(In, 0, [], 512, out _, out _));
        Assert.Equal(2, bench.FrontEnd.ConfigChangeCount);
    }

    private static byte[][] Cut(byte[] data, Random random)
    {
        var pieces = new List<byte[]>();
        for (var start = 0; start < data.Length;)
        {
            var length = Math.Min(data.Length - start, random.Next(4) == 0 ? 1 : random.Next(1, 600));
            pieces.Add(data[start..(start + length)]);
            start += length;
        }

        return [.. pieces];
    }
}
