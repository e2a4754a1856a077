using Vhost.Abstractions;
using Vhost.Plugins.VhostBlk;
using Vhost.Testing;
using static Vhost.VhostBlk.Tests.BlkWire;

namespace Vhost.VhostBlk.Tests;

public sealed class CacheAndConfigTests
{
    [Fact]
    public void A_driver_may_turn_the_write_cache_off_and_on()
    {
        using var bench = new BlkBench();
        Assert.Equal(1, bench.Config(32, 1)[0]);
        bench.Send(Out, 0, new byte[512]);
        Assert.Equal(0, bench.Port.ForceUnitAccessCount);
        Assert.True(bench.Device.WriteConfig(32, [0]));
        bench.Reactor.TurnUntilIdle();
        // What was written before is flushed, what comes after is durable by itself.
        Assert.Equal(1, bench.Port.Counts[(int)BlockOperation.Flush]);
        Assert.Equal(0, bench.Config(32, 1)[0]);
        Assert.Equal(Ok, bench.Send(Out, 0, new byte[512]));
        Assert.Equal(1, bench.Port.ForceUnitAccessCount);
        Assert.Equal(Ok, bench.Send(13, 0, BlkBench.Range(0, 8, 0)));
        Assert.Equal(2, bench.Port.ForceUnitAccessCount);
        Assert.True(bench.Device.WriteConfig(32, [1]));
        bench.Send(Out, 0, new byte[512]);
        Assert.Equal(2, bench.Port.ForceUnitAccessCount);
    }

    [Fact]
    public void A_driver_that_cannot_flush_gets_a_write_through_disk()
    {
        using var bench = new BlkBench(without: BlkBench.FeatureFlush);
        Assert.Equal(0, bench.Config(32, 1)[0]);
        bench.Send(Out, 0, new byte[512]);
        Assert.Equal(1, bench.Port.ForceUnitAccessCount);
    }

    [Fact]
    public void A_reset_forgets_the_cache_mode()
    {
        using var bench = new BlkBench();
        Assert.True(bench.Device.WriteConfig(32, [0]));
        bench.Run(bench.Session.StopQueueAsync(0, TestContext.Current.CancellationToken).AsTask());
        bench.Session.ResetDevice();
        Assert.Equal(1, bench.Config(32, 1)[0]);
        Assert.False(bench.Device.WriteConfig(32, [0]));
    }

    [Fact]
    public void Only_the_write_cache_field_may_be_written()
    {
        using var bench = new BlkBench();
        Assert.False(bench.Device.WriteConfig(0, [1]));
        Assert.False(bench.Device.WriteConfig(31, [0, 0]));
        Assert.False(bench.Device.WriteConfig(32, [0, 0]));
        Assert.False(bench.Device.WriteConfig(32, [2]));
        Assert.False(bench.Device.WriteConfig(-1, [0]));
        Assert.False(bench.Device.WriteConfig(int.MaxValue, [0]));
        Assert.False(bench.Device.WriteConfig(32, []));
        Assert.Equal(1, bench.Config(32, 1)[0]);
        using var fixedMode = new BlkBench(without: BlkBench.FeatureConfigWce);
        Assert.False(fixedMode.Device.WriteConfig(32, [0]));
    }

    [Fact]
    public void The_configuration_space_describes_the_bdev()
    {
        using var port = new MemoryBdevPort(blockSizeBytes: 4096, blockCount: 100);
        port.Change(port.Info! with { PhysicalBlockSizeBytes = 16384, OptimalTransferBlocks = 32, DiscardGranularityBlocks = 4 }, BdevChange.Changed);
        using var bench = new BlkBench(port, new BlkOptions { Bdev = "Memory0", Queues = 24 });
        var config = bench.Config(0, 80);
        Assert.Equal(800UL, BitConverter.ToUInt64(config, 0));
        Assert.Equal(126U, BitConverter.ToUInt32(config, 12));
        Assert.Equal(4096U, BitConverter.ToUInt32(config, 20));
        Assert.Equal(2, config[24]);
        Assert.Equal(4, BitConverter.ToUInt16(config, 26));
        Assert.Equal(32U, BitConverter.ToUInt32(config, 28));
        Assert.Equal(24, BitConverter.ToUInt16(config, 34));
        Assert.Equal(32U, BitConverter.ToUInt32(config, 44));
        Assert.Equal(1, config[56]);
        Assert.All(config[60..], value => Assert.Equal(0, value));
        Assert.Equal(config[20..24], bench.Config(20, 4));
        Assert.Equal(new byte[4], bench.Config(int.MaxValue, 4));
    }

    [Fact]
    public void A_resize_reaches_the_guest()
    {
        using var bench = new BlkBench();
        var data = new byte[512];
        Array.Fill(data, (byte)7);
        Assert.Equal(1, bench.Send(Out, 3000, data));
        bench.Port.Change(bench.Port.Info! with { BlockCount = 4096 }, BdevChange.Resized);
        Assert.Equal(1, bench.FrontEnd.ConfigChangeCount);
        Assert.Equal(4096UL, BitConverter.ToUInt64(bench.Config(0, 8)));
        Assert.Equal(Ok, bench.Send(Out, 3000, data));
        Assert.Equal(7, bench.Port.Data[3000 * 512]);
    }

    [Fact]
    public void Options_are_checked()
    {
        var errors = new Errors();
        IPartFactory factory = new BlkFactory();
        factory.Validate(new BlkOptions { Bdev = "a", Serial = new string('x', 21), Queues = 0, QueueSize = 100 }, errors);
        Assert.Equal(["queueSize", "queues", "serial"], errors.Paths.Order());
        errors.Paths.Clear();
        factory.Validate(new BlkOptions { Bdev = "a" }, errors);
        Assert.Empty(errors.Paths);
        Assert.Equal([new BdevReference("bdev", "a")], ((IDeviceTypeFactory)factory).GetBdevReferences(new BlkOptions { Bdev = "a" }));
    }

    private sealed class Errors : IOptionsErrors
    {
        public List<string> Paths { get; } = [];

        public void Add(string path, string message) => Paths.Add(path);
    }
}
