using System.Buffers.Binary;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Pci.Tests;

/// <summary>The uio way on a machine made of files: its "huge pages" have the size of the temporary directory's blocks. VHOST_TEST_HUGETLBFS names a real hugetlbfs instead.</summary>
public sealed unsafe class UioDeviceTests : IDisposable
{
    private readonly FakeMachine _machine = new();
    private readonly string _device;
    private readonly string _huge;

    public UioDeviceTests()
    {
        _device = _machine.AddDevice("0000:00:05.0", driver: "uio_pci_generic");
        _huge = Environment.GetEnvironmentVariable("VHOST_TEST_HUGETLBFS") ?? Path.Combine(_machine.Root, "huge");
        Directory.CreateDirectory(_huge);
        Directory.CreateDirectory(Path.Combine(_device, "uio/uio0"));
        File.WriteAllText(Path.Combine(_machine.Paths.Dev, "uio0"), "");
        File.WriteAllText(Path.Combine(_machine.Paths.Proc, "mounts"), $"none / ext4 rw 0 0\nnone {_huge} hugetlbfs rw 0 0\n");
        byte[] config = new byte[256];
        BinaryPrimitives.WriteUInt32LittleEndian(config, 0x0010_1b36);
        config[4] = 4;
        File.WriteAllBytes(Path.Combine(_device, "config"), config);
        File.WriteAllBytes(Path.Combine(_device, "resource0"), new byte[16384]);
        File.WriteAllText(Path.Combine(_device, "resource"), "0x00000000febf0000 0x00000000febf3fff 0x0000000000140204\n0x0 0x0 0x0\n");
        File.WriteAllText(Path.Combine(_device, "reset"), "");
    }

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void A_device_is_driven_through_sysfs_and_stopped_at_the_end()
    {
        var opener = new PciDeviceOpener(_machine.Paths);
        using (IPciDevice device = opener.Open("0000:00:05.0", NullLogger.Instance))
        {
            Assert.Equal((0x1b36, 0x10), (device.Identity.VendorId, device.Identity.DeviceId));
            Assert.Equal("1", File.ReadAllText(Path.Combine(_device, "reset")));
            Assert.Equal(0x0402, Command()); // memory on, bus mastering off, INTx off
            Assert.True(device.Dma.IsPhysical);
            Assert.Equal(0, device.InterruptVectorCount);
            PciBar bar = device.OpenBar(0);
            Assert.Equal((0xfebf0000UL, 0x4000UL), (bar.PhysicalAddress, bar.LengthBytes));
            bar.Write32(0x1000, 77);
            Assert.Equal(77u, bar.Read32(0x1000));
            Assert.NotEqual(0, bar.TryMap(0x1000, 0x1000));
            Assert.Throws<PciException>(() => device.OpenBar(1));
            device.SetBusMastering(true);
            Assert.Equal(0x0406, Command());
            Assert.True(File.Exists(Path.Combine(Assert.Single(Directory.GetDirectories(_huge)), "device-0000:00:05.0")));
            Assert.Contains("already", Assert.Throws<PciException>(() => opener.Open("0000:00:05.0", NullLogger.Instance)).Message, StringComparison.Ordinal);
            Assert.Contains("another process", Assert.Throws<PciException>(
                () => new PciDeviceOpener(_machine.Paths).Open("0000:00:05.0", NullLogger.Instance)).Message, StringComparison.Ordinal);
        }

        Assert.Equal(0x0402, Command());
        Assert.Empty(Directory.GetDirectories(_huge));
        opener.Open("0000:00:05.0", NullLogger.Instance).Dispose();
    }

    [Fact]
    public void Memory_for_the_device_is_physical_and_named_where_the_process_may_know()
    {
        using IPciDevice device = new PciDeviceOpener(_machine.Paths).Open("0000:00:05.0", NullLogger.Instance);
        if (!ProcessLimits.Has(Capability.SysAdmin))
        {
            Assert.Contains("CAP_SYS_ADMIN", Assert.Throws<PciException>(() => device.Dma.Allocate(4096, true)).Message, StringComparison.Ordinal);
            return;
        }

        nuint page = FileStatus.Of(_huge).BlockSize;
        using var map = new PageMap();
        using (DmaMemory one = device.Dma.Allocate(100, true))
        using (DmaMemory many = device.Dma.Allocate((page * 3) + 1, false))
        {
            Assert.True(map.TryTranslate((void*)one.Address, out ulong physical));
            Assert.Equal(physical, one.Iova);
            for (nuint at = 0; at < page * 3; at += page)
            {
                Assert.True(map.TryTranslate((byte*)many.Address + at + 5, out physical));
                Assert.True(device.Dma.TryTranslate(many.Address + (nint)at + 5, 10, out ulong iova, out nuint contiguous));
                Assert.Equal((physical, (nuint)10), (iova, contiguous));
            }

            Assert.Equal(one.LengthBytes + many.LengthBytes, device.Dma.Statistics.AllocatedBytes);
            *(int*)one.Address = 5;
        }

        using DmaMemory again = device.Dma.Allocate(100, true);
        Assert.Equal(0, *(int*)again.Address);
        Assert.Contains("one huge page", Assert.Throws<PciException>(() => device.Dma.Allocate(page + 1, true)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Only_memory_that_cannot_move_is_reached()
    {
        using IPciDevice device = new PciDeviceOpener(_machine.Paths).Open("0000:00:05.0", NullLogger.Instance);
        var registry = new TestRegistry();
        using IDisposable follow = device.Dma.Follow(registry);
        using MemoryMapping memory = MemoryMapping.MapAnonymous(8192);
        nint address = (nint)memory.Address;
        using IDisposable ram = registry.Register(new MemoryRegion(0, address, 4096, true, new MemoryBacking(MemoryBackingKind.Ram, 4096)));
        using IDisposable bar = registry.Register(new MemoryRegion(
            4096, address + 4096, 4096, true, new MemoryBacking(MemoryBackingKind.DeviceBar, 4096, PhysicalAddress: 0xfe00_0000)));
        Assert.False(device.Dma.TryTranslate(address, 8, out _, out _));
        Assert.True(device.Dma.TryTranslate(address + 4100, 8, out ulong iova, out _));
        Assert.Equal(0xfe00_0004UL, iova);
        Assert.Equal((1, 1), (device.Dma.Statistics.MappedRegions, device.Dma.Statistics.UnmappedRegions));

        // Pages that the guest has not touched have no frame yet: they are faulted in first.
        using MemoryMapping huge = MemoryMapping.MapAnonymous(8192);
        using IDisposable hugetlb = registry.Register(new MemoryRegion(
            8192, (nint)huge.Address, 8192, true, new MemoryBacking(MemoryBackingKind.HugeTlb, 4096)));
        using var map = new PageMap();
        bool known = map.TryTranslate(huge.Address + 4100, out ulong physical);
        Assert.Equal(known, device.Dma.TryTranslate((nint)huge.Address + 4100, 8, out iova, out nuint contiguous));
        if (known)
        {
            Assert.Equal((physical, (nuint)8), (iova, contiguous));
        }
    }

    [Fact]
    public void A_bar_that_emulated_devices_copy_is_left_out_for_those_that_map_a_buffer_twice()
    {
        using IPciDevice device = new PciDeviceOpener(_machine.Paths).Open("0000:00:05.0", NullLogger.Instance);
        var registry = new TestRegistry();
        IDmaDomain once = device.Dma.WithoutCopiedBars;
        using IDisposable follow = once.Follow(registry);
        using MemoryMapping memory = MemoryMapping.MapAnonymous(8192);
        nint address = (nint)memory.Address;
        IDisposable copied = registry.Register(new MemoryRegion(0, address, 4096, true, new MemoryBacking(MemoryBackingKind.CopiedBar, 4096, PhysicalAddress: 0xfe00_0000)));
        using IDisposable bar = registry.Register(new MemoryRegion(
            4096, address + 4096, 4096, true, new MemoryBacking(MemoryBackingKind.DeviceBar, 4096, PhysicalAddress: 0xfe10_0000)));
        using DmaMemory own = once.Allocate(4096, isContiguous: true);
        Assert.True(device.Dma.TryTranslate(address + 4, 8, out ulong iova, out _));
        Assert.Equal(0xfe00_0004UL, iova);
        Assert.False(once.TryTranslate(address + 4, 8, out _, out _));
        Assert.True(once.TryTranslate(address + 4100, 8, out iova, out _));
        Assert.Equal(0xfe10_0004UL, iova);
        Assert.True(once.TryTranslate(own.Address, 8, out _, out _));
        copied.Dispose();
        Assert.False(device.Dma.TryTranslate(address + 4, 8, out _, out _));
    }

    [Fact]
    public void Without_hugetlbfs_the_remedy_is_named()
    {
        File.WriteAllText(Path.Combine(_machine.Paths.Proc, "mounts"), "none / ext4 rw 0 0\n");
        var opener = new PciDeviceOpener(_machine.Paths);
        Assert.Contains("nr_hugepages", Assert.Throws<PciException>(() => opener.Open("0000:00:05.0", NullLogger.Instance)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_device_of_the_kernels_and_one_without_a_driver_are_refused()
    {
        _machine.AddDevice("0000:00:06.0", driver: "nvme");
        _machine.AddDevice("0000:00:07.0");
        _machine.AddDevice("0000:00:08.0", driver: "vfio-pci");
        var opener = new PciDeviceOpener(_machine.Paths);
        Assert.Contains("nvme holds", Assert.Throws<PciException>(() => opener.Open("0000:00:06.0", NullLogger.Instance)).Message, StringComparison.Ordinal);
        Assert.Contains("no driver", Assert.Throws<PciException>(() => opener.Open("0000:00:07.0", NullLogger.Instance)).Message, StringComparison.Ordinal);
        Assert.Contains("IOMMU", Assert.Throws<PciException>(() => opener.Open("0000:00:08.0", NullLogger.Instance)).Message, StringComparison.Ordinal);
    }

    private int Command() => FakeMachine.ReadCommand(_device);
}
