using System.Globalization;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;
using Vhost.VfioUser;
using Vhost.VvuDevice;

namespace Vhost.Vvu.Tests;

/// <summary>What the device shows to a driver, held against captures of the published devices.</summary>
public sealed class ConfigSpaceTests
{
    [Theory]
    [InlineData("fixed", "Layout A")]
    [InlineData("capabilities", "Layout B")]
    public void Configuration_space_is_that_of_the_published_device(string layout, string capture)
    {
        using var device = new ServedDevice(layout);
        byte[] expected = Captured(capture);

        // What firmware writes: BARs, command, interrupt line.
        device.Client.WriteRegion(VfioUserRegions.Config, 0x14, expected.AsSpan(0x14, 20));
        device.Client.WriteRegion(VfioUserRegions.Config, 0x04, expected.AsSpan(0x04, 2));
        device.Client.WriteRegion(VfioUserRegions.Config, 0x3c, expected.AsSpan(0x3c, 1));
        byte[] actual = new byte[256];
        device.Client.ReadRegion(VfioUserRegions.Config, 0, actual);

        // The legacy I/O BAR is not there.
        expected.AsSpan(0x10, 4).Clear();
        Assert.Equal(Convert.ToHexString(expected), Convert.ToHexString(actual));
    }

    [Fact]
    public void Without_an_interrupt_line_there_is_neither_a_pin_nor_an_interrupt_but_all_vectors()
    {
        using var device = new ServedDevice("capabilities", hasInterruptLine: false);
        byte[] pin = [0xff];
        device.Client.ReadRegion(VfioUserRegions.Config, 0x3d, pin);
        Assert.Equal(0, pin[0]);
        Assert.Equal(0u, device.Client.GetIrq(VfioUserIrqs.Intx).Count);
        Assert.Equal(1027u, device.Client.GetIrq(VfioUserIrqs.Msix).Count);
    }

    [Theory]
    [InlineData("fixed", 0x1000, 0x4000, 3)]
    [InlineData("capabilities", 0x8000, 0x4000, 1027)]
    public void Bars_have_the_sizes_of_the_published_device(string layout, ulong vectorBar, ulong virtioBar, int vectors)
    {
        using var device = new ServedDevice(layout);
        ulong[] expected = [TrackingMemory.BarBytes, vectorBar, 1UL << 36, 0, virtioBar, 0];
        for (int i = 0; i < expected.Length; i++)
        {
            using VfioUserClientRegion region = device.Client.GetRegion(i);
            Assert.Equal(expected[i], region.Size);
            if (expected[i] == 0)
            {
                continue;
            }

            // Firmware's way: all ones, and what stays zero is the size.
            byte[] field = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
            int width = i <= 1 ? 4 : 8;
            device.Client.WriteRegion(VfioUserRegions.Config, (ulong)(0x10 + (4 * i)), field.AsSpan(0, width));
            device.Client.ReadRegion(VfioUserRegions.Config, (ulong)(0x10 + (4 * i)), field.AsSpan(0, width));
            ulong mask = BitConverter.ToUInt64(field) & ~15UL;
            Assert.Equal(expected[i], ~mask + 1);
        }

        Assert.Equal((uint)vectors, device.Client.GetIrq(VfioUserIrqs.Msix).Count);
        Assert.Equal(1u, device.Client.GetIrq(VfioUserIrqs.Intx).Count);
    }

    [Fact]
    public void Memory_has_a_window_of_its_own_in_the_bar()
    {
        using var device = new ServedDevice("capabilities");
        using VfioUserClientRegion bar = device.Client.GetRegion(2);
        Assert.Equal([new VfioUserArea(ComputeMemory.FileOffset, 16 << 20)], bar.Areas);
        using MemoryMapping mapped = bar.TryMap(ComputeMemory.FileOffset + 4096, 8192)!;
        device.Memory.Regions[0].Allocate(1, 4096);
        Pattern(device.Memory.Regions[0].HostAddress + 4096);
        Assert.Equal(0x5a, First(mapped));

        // The same by message.
        byte[] read = new byte[8];
        device.Client.ReadRegion(2, ComputeMemory.FileOffset + 4096, read);
        Assert.Equal(0x5a, read[0]);
        device.Client.WriteRegion(2, ComputeMemory.FileOffset + 4096, [7]);
        Assert.Equal(7, First(mapped));

        // What is not there reads as ones, also across the edge.
        device.Client.ReadRegion(2, ComputeMemory.FileOffset - 4, read);
        Assert.Equal([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], read);
        device.Client.ReadRegion(2, ComputeMemory.FileOffset + (16 << 20), read);
        Assert.Equal([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], read);
    }

    [Fact]
    public void Structures_can_be_reached_through_the_configuration_window()
    {
        using var device = new ServedDevice("capabilities");
        const ulong Window = 0xb8;
        device.Client.WriteRegion(VfioUserRegions.Config, Window + 4, [4]);
        device.Client.WriteRegion(VfioUserRegions.Config, Window + 8, BitConverter.GetBytes(0x2004));
        device.Client.WriteRegion(VfioUserRegions.Config, Window + 12, BitConverter.GetBytes(4));
        byte[] field = new byte[4];
        device.Client.ReadRegion(VfioUserRegions.Config, Window + 16, field);
        Assert.Equal(1024, BitConverter.ToInt32(field));
    }

    private static byte[] Captured(string name)
    {
        string[] lines = File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "fixtures", "config-space.txt"));
        IEnumerable<string> part = lines.SkipWhile(line => !line.StartsWith($"== {name}", StringComparison.Ordinal)).Skip(1)
            .TakeWhile(line => !line.StartsWith("==", StringComparison.Ordinal));
        byte[] bytes = [.. part.Where(line => line.Length == 51 && line[2] == ':').SelectMany(line => line[4..].Split(' ')).Select(hex => byte.Parse(hex, NumberStyles.HexNumber, CultureInfo.InvariantCulture))];
        Assert.Equal(256, bytes.Length);
        return bytes;
    }

    private static unsafe void Pattern(nint address) => *(byte*)address = 0x5a;

    private static unsafe byte First(MemoryMapping mapping) => *mapping.Address;

    private sealed class ServedDevice : IDisposable
    {
        private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("vvu");
        private readonly VvuPciDevice _device;
        private readonly VfioUserServer _server;

        public ServedDevice(string layout, bool hasInterruptLine = true)
        {
            var options = new DeviceOptions(
                Path.Combine(_directory.FullName, "a"), Path.Combine(_directory.FullName, "b"), $"/proc/self/fd/{Memory.Regions[0].File.Raw}", 16 << 20,
                layout == "fixed" ? DeviceLayout.Fixed : DeviceLayout.Capabilities, HasInterruptLine: hasInterruptLine);
            _device = new VvuPciDevice(options, _ => { });
            _server = new VfioUserServer(options.VfioUserSocket, _device);
            Client = VfioUserClient.Connect(options.VfioUserSocket);
        }

        public GuestMemory Memory { get; } = new(0, 16 << 20);

        public VfioUserClient Client { get; }

        public void Dispose()
        {
            Client.Dispose();
            _server.Dispose();
            _device.Dispose();
            Memory.Dispose();
            _directory.Delete(recursive: true);
        }
    }
}
