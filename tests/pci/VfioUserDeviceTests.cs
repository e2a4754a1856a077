using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Pci.Tests;

public sealed unsafe class VfioUserDeviceTests
{
    [Fact]
    public void A_device_is_opened_reset_identified_and_closed()
    {
        using var harness = new DeviceHarness();
        harness.Model.Config[4] = 4;
        using (IPciDevice device = Open(harness))
        {
            Assert.Equal(new PciIdentity(0x1234, 0x5678, 0x010802, 3, 0x1111, 0x2222), device.Identity);
            Assert.Equal(1, harness.Model.Resets);
            Assert.Equal(2, harness.Model.Command); // memory on, bus mastering off
            device.SetBusMastering(true);
            Assert.Equal(6, harness.Model.Command);
            Assert.Equal(256, device.ConfigLengthBytes);
            Assert.Throws<PciException>(() => device.ReadConfig(255, new byte[2]));
            Assert.Throws<PciException>(() => device.ReadConfig(-1, new byte[2]));
            Assert.Throws<PciException>(() => device.OpenBar(1));
        }

        Assert.Equal(0, harness.Model.Command & 4);
        Assert.Equal(2, harness.Model.Resets);
    }

    [Fact]
    public void Registers_are_reached_mapped_and_trapped()
    {
        using var harness = new DeviceHarness();
        using IPciDevice device = Open(harness);
        PciBar bar = device.OpenBar(0);
        Assert.Same(bar, device.OpenBar(0));
        Assert.Equal(0x10000UL, bar.LengthBytes);
        bar.Write64(16, 0x1122334455667788);
        Assert.Equal(0x55667788u, bar.Read32(16));
        Assert.Equal(0x1122, bar.Read16(22));
        Assert.Equal(0x11, bar.Read8(23));
        bar.Write8(16, 1);
        bar.Write16(18, 2);
        bar.Write32(20, 3);
        Assert.Equal(0x0000000300027701u, bar.Read64(16));
        bar.Write32(32, 5);
        bar.Write32(36, 6);
        Assert.Equal(0x0000000600000005UL, bar.Read64(32)); // in halves, as the device refuses 8 bytes

        bar.Write32(4096 + 8, 0xabcd);
        Assert.Equal(0xabcdu, *(uint*)(harness.Model.Memory.Address + 8));
        *(ulong*)(harness.Model.Memory.Address + 16) = 99;
        Assert.Equal(99UL, bar.Read64(4096 + 16));
        nint mapped = bar.TryMap(4096, 4096);
        Assert.Equal(0xabcdu, *(uint*)(mapped + 8));
        Assert.Equal(0, bar.TryMap(0, 4096));

        Assert.Throws<PciException>(() => bar.Read32(0x10000));
        Assert.Throws<PciException>(() => bar.Read32(0xfffe));
        Assert.Throws<PciException>(() => bar.Read32(4097));
        Assert.Throws<PciException>(() => bar.Read64(ulong.MaxValue));
        Assert.Throws<PciException>(() => bar.TryMap(4095, 4096));
        Assert.Throws<PciException>(() => bar.TryMap(4096, 0x10000));
    }

    [Fact]
    public void The_register_path_and_the_translation_allocate_nothing()
    {
        using var harness = new DeviceHarness();
        using IPciDevice device = Open(harness);
        PciBar bar = device.OpenBar(0);
        using DmaMemory memory = device.Dma.Allocate(4096, isContiguous: true);
        // What a turn costs shows in every round; what the runtime allocates once for its own sake, as it compiles the turn anew, in one.
        long least = long.MaxValue;
        for (int round = 0; round < 5 && least != 0; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 10_000; i++)
            {
                Turn();
            }

            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        Assert.Equal(0, least);

        void Turn()
        {
            bar.Write32(4096, bar.Read32(4096) + 1);
            _ = device.Dma.TryTranslate(memory.Address + 8, 16, out _, out _);
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_device_does_dma_and_interrupts(bool hasMsix)
    {
        using var harness = new DeviceHarness(hasMsix);
        using IPciDevice device = Open(harness);
        Assert.Equal(hasMsix ? 2 : 1, device.InterruptVectorCount);
        Assert.Equal(!hasMsix, device.IsLevelTriggered);
        int irq = device.EnableInterrupts(device.InterruptVectorCount)[^1];
        if (hasMsix)
        {
            Assert.Equal(0x80, harness.Model.Config[0x43] & 0xc0); // enabled, function not masked
            Assert.Equal(0, harness.Model.MsixTable[12]);
            Assert.Equal(0, harness.Model.MsixTable[28]);
        }

        using DmaMemory memory = device.Dma.Allocate(100, isContiguous: true);
        Assert.Equal((nuint)4096, memory.LengthBytes);
        *(ulong*)memory.Address = 41;
        PciBar bar = device.OpenBar(0);
        bar.Write64(8, memory.Iova);
        Assert.Equal(42UL, *(ulong*)memory.Address);
        Assert.True(Poll.WaitReadable(irq, 60_000));
        Assert.Equal(1UL, EventFd.DrainRaw(irq));

        device.UnmaskInterrupt();
        Assert.Equal(hasMsix ? 0UL : 1UL, EventFd.DrainRaw(irq)); // the line is still high
        device.EnableInterrupts(0);
        Assert.Throws<PciException>(() => device.EnableInterrupts(3));
        memory.Dispose();
        Assert.Empty(harness.Model.Session!.Dma.Regions);
    }

    [Fact]
    public void Guest_memory_is_mapped_once_while_it_is_announced()
    {
        using var harness = new DeviceHarness();
        using IPciDevice device = Open(harness);
        var registry = new TestRegistry();
        using MemoryFile file = MemoryFile.Create("guest", 1 << 20);
        using MemoryMapping guest = MemoryMapping.MapShared(file.Raw, 0, 1 << 20);
        using IDisposable early = registry.Register(Region(guest, 0, 1 << 19, file.Raw));
        IDisposable first = device.Dma.Follow(registry);
        IDisposable second = device.Dma.Follow(registry);
        Assert.Equal(1, registry.ObserverCount);
        IDisposable late = registry.Register(Region(guest, 1 << 19, 1 << 19, file.Raw));
        Assert.Equal(new DmaStatistics(1 << 20, 2, 0, 0, 0, 0), device.Dma.Statistics);
        Assert.Equal(2, harness.Model.Session!.Dma.Regions.Count);

        *(ulong*)(guest.Address + 0x80008) = 7;
        Assert.True(device.Dma.TryTranslate((nint)guest.Address + 0x80008, 8, out ulong iova, out nuint contiguous));
        Assert.Equal((nuint)8, contiguous);
        device.OpenBar(0).Write64(8, iova);
        Assert.Equal(8UL, *(ulong*)(guest.Address + 0x80008));

        late.Dispose();
        Assert.False(device.Dma.TryTranslate((nint)guest.Address + 0x80008, 8, out _, out _));
        Assert.Single(harness.Model.Session.Dma.Regions);
        Assert.True(device.Dma.TryTranslate((nint)guest.Address + (1 << 19) - 8, 16, out _, out contiguous));
        Assert.Equal((nuint)8, contiguous);

        first.Dispose();
        first.Dispose();
        Assert.Equal(1, registry.ObserverCount);
        second.Dispose();
        Assert.Equal(0, registry.ObserverCount);
        Assert.Empty(harness.Model.Session.Dma.Regions);
        Assert.False(device.Dma.TryTranslate((nint)guest.Address, 8, out _, out _));
    }

    [Fact]
    public void Memory_without_a_file_is_reached_by_messages_and_bounces_are_counted()
    {
        using var harness = new DeviceHarness();
        using IPciDevice device = Open(harness);
        var registry = new TestRegistry();
        using MemoryMapping guest = MemoryMapping.MapAnonymous(8192);
        using IDisposable follow = device.Dma.Follow(registry);
        using IDisposable region = registry.Register(Region(guest, 0, 8192, -1));
        Assert.True(device.Dma.TryTranslate((nint)guest.Address, 8, out ulong iova, out _));
        device.OpenBar(0).Write64(8, iova);
        Assert.Equal(1UL, *(ulong*)guest.Address);
        device.Dma.CountBounce(512);
        Assert.Equal((1, 512), ((int)device.Dma.Statistics.BouncedTransfers, (int)device.Dma.Statistics.BouncedBytes));
    }

    [Fact]
    public void Memory_that_cannot_be_mapped_is_left_out_and_counted()
    {
        using var harness = new DeviceHarness();
        using IPciDevice device = Open(harness);
        var registry = new TestRegistry();
        using MemoryMapping guest = MemoryMapping.MapAnonymous(8192);
        using MemoryFile tooShort = MemoryFile.Create("short", 4096);
        using IDisposable follow = device.Dma.Follow(registry);
        using IDisposable region = registry.Register(Region(guest, 0, 8192, tooShort.Raw));
        Assert.Equal(1, device.Dma.Statistics.UnmappedRegions);
        Assert.False(device.Dma.TryTranslate((nint)guest.Address, 8, out _, out _));
    }

    [Fact]
    public void A_device_whose_process_ends_is_removed()
    {
        using var harness = new DeviceHarness();
        using IPciDevice device = Open(harness);
        PciBar bar = device.OpenBar(0);
        bar.Write32(4096, 1);
        DmaMemory memory = device.Dma.Allocate(4096, true);
        harness.StopServer();
        Assert.True(device.Removed.WaitHandle.WaitOne(60_000));
        Assert.Equal(uint.MaxValue, bar.Read32(4096));
        Assert.Equal(uint.MaxValue, bar.Read32(16));
        Assert.Equal(0xff, bar.Read8(16));
        bar.Write32(4096, 2);
        bar.Write32(16, 2);
        Assert.Equal(1u, *(uint*)harness.Model.Memory.Address);
        Assert.Throws<PciException>(() => device.ReadConfig(0, new byte[2]));
        Assert.False(device.TryReset());
        memory.Dispose();
    }

    [Fact]
    public void Addresses_that_name_nothing_are_refused_with_what_to_do()
    {
        var opener = new PciDeviceOpener(new PciPaths { Sys = "/nonexistent" });
        Assert.Contains("start its server", Assert.Throws<PciException>(() => opener.Open("/nonexistent/d.sock", NullLogger.Instance)).Message, StringComparison.Ordinal);
        Assert.Contains("pci list", Assert.Throws<PciException>(() => opener.Open("0000:00:05.0", NullLogger.Instance)).Message, StringComparison.Ordinal);
        Assert.Contains("no PCI address", Assert.Throws<PciException>(() => opener.Open("nvme0", NullLogger.Instance)).Message, StringComparison.Ordinal);
    }

    private static IPciDevice Open(DeviceHarness harness) => new PciDeviceOpener().Open(harness.Path, NullLogger.Instance);

    private static MemoryRegion Region(MemoryMapping memory, int offset, ulong length, int fd) => new(
        (ulong)offset, (nint)(memory.Address + offset), length, true, new MemoryBacking(MemoryBackingKind.Ram, 4096, fd, (ulong)offset));
}
