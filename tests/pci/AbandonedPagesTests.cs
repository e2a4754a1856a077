using System.Buffers.Binary;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Linux;
using Vhost.Pci.Dma;

namespace Vhost.Pci.Tests;

/// <summary>What a killed process left in a hugetlbfs stays until each device that it had was reset; on a machine made of files.</summary>
public sealed class AbandonedPagesTests : IDisposable
{
    private const string First = "0000:00:05.0";
    private const string Second = "0000:00:06.0";
    private readonly FakeMachine _machine = new();
    private readonly string _huge;
    private readonly string _left;

    public AbandonedPagesTests()
    {
        _huge = Path.Combine(_machine.Root, "huge");
        _left = Path.Combine(_huge, "vhostd-99999-x");
        Directory.CreateDirectory(_left);
        File.WriteAllText(Path.Combine(_machine.Paths.Proc, "mounts"), $"none {_huge} hugetlbfs rw 0 0\n");
        File.WriteAllText(Path.Combine(_left, "dma-0"), "");
    }

    private bool IsLeft => File.Exists(Path.Combine(_left, "dma-0"));

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void They_stay_until_the_driver_has_reset_the_device_that_the_platform_cannot_reset()
    {
        Add(First, canReset: false);
        using IPciDevice device = Open(First);
        Assert.True(IsLeft); // it was opened without DMA, but what it holds back may still come
        device.SetBusMastering(true);
        Assert.False(Directory.Exists(_left));
        Assert.Single(Directory.GetDirectories(_huge)); // its own
        new AbandonedPages(_machine.Paths, NullLogger.Instance).Sweep(_huge, stopped: null);
        Assert.Single(Directory.GetDirectories(_huge)); // what a living process holds is not touched
    }

    [Fact]
    public void A_second_device_that_nobody_drives_is_reset_before_they_go()
    {
        Add(First, canReset: true);
        Add(Second, canReset: true);
        using IPciDevice device = Open(First);
        Assert.Equal("1", Resets(First));
        Assert.Equal(("1", false), (Resets(Second), BusMaster(Second)));
        Assert.False(Directory.Exists(_left));
    }

    [Fact]
    public void Each_of_two_devices_has_to_be_reset()
    {
        Add(First, canReset: false);
        Add(Second, canReset: false);
        using IPciDevice one = Open(First);
        one.SetBusMastering(true);
        Assert.True(IsLeft);
        Assert.False(BusMaster(Second)); // it could be stopped, if not reset
        Assert.Equal(["device-" + Second], Directory.GetFiles(_left, "device-*").Select(Path.GetFileName));
        using IPciDevice two = Open(Second);
        Assert.True(IsLeft);
        two.SetBusMastering(true);
        Assert.False(Directory.Exists(_left));
    }

    [Fact]
    public void A_device_that_another_process_has_claimed_is_left_alone()
    {
        Add(First, canReset: true);
        using FileDescriptor other = FileIo.Open(Path.Combine(DevicePath(First), "config"), OpenMode.ReadWrite);
        Assert.True(FileLock.TryFlock(other.Raw, exclusive: true));
        Sweep();
        Assert.True(IsLeft && BusMaster(First));
        Assert.Equal("", Resets(First));
        Assert.Contains("another process", Assert.Throws<PciException>(() => Open(First)).Message, StringComparison.Ordinal);
        other.Dispose();
        Sweep();
        Assert.False(Directory.Exists(_left));
    }

    [Theory]
    [InlineData("vfio-pci", true, true)] // somebody drives it
    [InlineData("vfio-pci", false, false)] // the kernel reset it when its user went
    [InlineData("nvme", true, false)] // the kernel's driver has reset it
    [InlineData(null, true, false)] // nobody drives it: it is reset now
    public void Without_uio_the_driver_tells_whether_it_was_reset(string? driver, bool isBusMaster, bool isKept)
    {
        Add(First, canReset: true, driver, isBusMaster);
        Sweep();
        Assert.Equal(isKept, IsLeft);
    }

    [Theory]
    [InlineData("device-0000:00:1e.0")] // unplugged
    [InlineData("device-garbage")]
    public void What_is_no_device_does_not_keep_them(string marker)
    {
        File.WriteAllText(Path.Combine(_left, marker), "");
        Sweep();
        Assert.False(Directory.Exists(_left));
    }

    [Fact]
    public void A_device_that_cannot_be_stopped_keeps_them()
    {
        Add(First, canReset: true);

        // A configuration space that takes no write.
        string config = Path.Combine(DevicePath(First), "config");
        File.Delete(config);
        File.CreateSymbolicLink(config, "/dev/full");
        Sweep();
        Assert.True(IsLeft);
    }

    private void Sweep() => new AbandonedPages(_machine.Paths, NullLogger.Instance).Sweep(_huge, stopped: null);

    private IPciDevice Open(string address) => new PciDeviceOpener(_machine.Paths).Open(address, NullLogger.Instance);

    private string DevicePath(string address) => Path.Combine(_machine.Paths.Sys, "bus/pci/devices", address);

    private string Resets(string address) => File.ReadAllText(Path.Combine(DevicePath(address), "reset"));

    private bool BusMaster(string address) => (FakeMachine.ReadCommand(DevicePath(address)) & 4) != 0;

    // A device that the dead process had.
    private void Add(string address, bool canReset, string? driver = "uio_pci_generic", bool isBusMaster = true)
    {
        string device = _machine.AddDevice(address, driver: driver);
        if (driver == "uio_pci_generic")
        {
            string name = "uio" + address[^3];
            Directory.CreateDirectory(Path.Combine(device, "uio", name));
            File.WriteAllText(Path.Combine(_machine.Paths.Dev, name), "");
        }

        byte[] config = new byte[256];
        BinaryPrimitives.WriteUInt32LittleEndian(config, 0x0010_1b36);
        config[4] = (byte)(isBusMaster ? 4 : 0);
        File.WriteAllBytes(Path.Combine(device, "config"), config);
        if (canReset)
        {
            File.WriteAllText(Path.Combine(device, "reset"), "");
        }

        File.WriteAllText(Path.Combine(_left, "device-" + address), "");
    }
}
