using Vhost.Abstractions;
using Vhost.Testing;
using static Vhost.VhostBlk.Tests.BlkWire;

namespace Vhost.VhostBlk.Tests;

/// <summary>Features of the device that no other class looks at (virtio 1.3, section 5.2.3).</summary>
public sealed class FeatureTests
{
    private const ulong FeatureSegMax = 1UL << 2;

    [Theory]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void A_read_only_disk_says_so_and_is_not_changed(bool byController, bool byBdev)
    {
        using var port = new MemoryBdevPort();
        port.Data.Fill(0x5A);
        port.Change(port.Info! with { IsReadOnly = byBdev }, BdevChange.Changed);
        using var bench = new BlkBench(port, new() { Bdev = port.Name, ReadOnly = byController });
        Assert.NotEqual(0UL, bench.Device.OfferedFeatures & BlkBench.FeatureReadOnly);
        Assert.Equal(0UL, bench.Device.OfferedFeatures & (BlkBench.FeatureDiscard | BlkBench.FeatureWriteZeroes));
        Assert.Equal(IoError, bench.Send(Out, 0, new byte[512]));
        Assert.Equal(IoError, bench.Send(Discard, 0, BlkBench.Range(0, 1, 0)));
        Assert.Equal(IoError, bench.Send(WriteZeroes, 0, BlkBench.Range(0, 1, 0)));
        Assert.Equal(Ok, bench.Send(In, 0, [], 512, out var answer, out _));
        Assert.All(answer, value => Assert.Equal(0x5A, value));
        Assert.Equal(-1, port.Data.IndexOfAnyExcept((byte)0x5A));
    }

    [Fact]
    public void A_request_may_have_as_many_segments_as_the_device_says()
    {
        using var bench = new BlkBench(queueSize: 128);
        Assert.NotEqual(0UL, bench.Device.OfferedFeatures & FeatureSegMax);
        var segments = BitConverter.ToInt32(bench.Config(12, 4));
        var data = new byte[segments * 512];
        new Random(1).NextBytes(data);
        Assert.Equal(Ok, bench.Send([BlkBench.Header(Out, 8), .. data.Chunk(512)], [1], out _, out _));
        Assert.Equal(data, bench.Port.Data.Slice(8 * 512, data.Length).ToArray());
        Assert.Equal(Ok, bench.Send([BlkBench.Header(In, 8)], [.. Enumerable.Repeat(512, segments), 1], out var answer, out _));
        Assert.Equal(data, answer);
    }
}
