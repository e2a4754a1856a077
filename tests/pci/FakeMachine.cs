using System.Buffers.Binary;
using System.Globalization;
using Vhost.Linux;

namespace Vhost.Pci.Tests;

/// <summary>A machine made of files: sysfs, proc and dev in a temporary directory, with a kernel that answers writes to sysfs.</summary>
internal sealed class FakeMachine : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("vhost-").FullName;

    public FakeMachine()
    {
        Paths = new PciPaths { Sys = Path.Combine(_root, "sys"), Dev = Path.Combine(_root, "dev"), Proc = Path.Combine(_root, "proc") };
        Directory.CreateDirectory(Path.Combine(Paths.Sys, "bus/pci/devices"));
        Directory.CreateDirectory(Path.Combine(Paths.Sys, "bus/pci/drivers"));
        Directory.CreateDirectory(Path.Combine(Paths.Sys, "class/block"));
        Directory.CreateDirectory(Path.Combine(Paths.Proc, "self"));
        Directory.CreateDirectory(Paths.Dev);
    }

    public PciPaths Paths { get; }

    public List<string> Writes { get; } = [];

    /// <summary>Which driver takes a device by itself.</summary>
    public Dictionary<string, string> NativeDrivers { get; } = [];

    public string Root => _root;

    public PciInventory Inventory() => new(Paths) { Writer = Kernel };

    public string AddDevice(string address, uint classCode = 0x010802, string? driver = null, string? group = null, ushort vendor = 0x1b36, ushort device = 0x0010, ulong bar2Bytes = 0)
    {
        string real = Path.Combine(Paths.Sys, "devices/pci0000:00", address);
        Directory.CreateDirectory(real);
        File.WriteAllText(Path.Combine(real, "vendor"), string.Create(CultureInfo.InvariantCulture, $"0x{vendor:x4}\n"));
        File.WriteAllText(Path.Combine(real, "device"), string.Create(CultureInfo.InvariantCulture, $"0x{device:x4}\n"));
        const ulong Bar2 = 1UL << 40;
        File.WriteAllLines(
            Path.Combine(real, "resource"),
            Enumerable.Range(0, 13).Select(i => i == 2 && bar2Bytes != 0
                ? string.Create(CultureInfo.InvariantCulture, $"0x{Bar2:x16} 0x{Bar2 + bar2Bytes - 1:x16} 0x000000000014220c")
                : "0x0000000000000000 0x0000000000000000 0x0000000000000000"));
        File.WriteAllText(Path.Combine(real, "class"), string.Create(CultureInfo.InvariantCulture, $"0x{classCode:x6}\n"));
        File.CreateSymbolicLink(Path.Combine(Paths.Sys, "bus/pci/devices", address), real);
        if (driver is not null)
        {
            AddDriver(driver);
            SetDriver(address, driver);
            NativeDrivers[address] = driver;
        }

        if (group is not null)
        {
            string directory = Path.Combine(Paths.Sys, "kernel/iommu_groups", group);
            Directory.CreateDirectory(Path.Combine(directory, "devices"));
            File.CreateSymbolicLink(Path.Combine(directory, "devices", address), real);
            File.CreateSymbolicLink(Path.Combine(real, "iommu_group"), directory);
        }

        return real;
    }

    /// <summary>The command register; .NET's own files cannot be read while a driver has its lock.</summary>
    public static int ReadCommand(string device)
    {
        Span<byte> command = stackalloc byte[2];
        using FileDescriptor config = FileIo.Open(Path.Combine(device, "config"), OpenMode.ReadOnly);
        FileIo.ReadExactly(config.Raw, command, 4);
        return BinaryPrimitives.ReadUInt16LittleEndian(command);
    }

    public void AddDriver(string name) => Directory.CreateDirectory(Paths.Driver(name));

    public string AddBlock(string deviceDirectory, string below, string name, string number)
    {
        string real = Path.Combine(deviceDirectory, below, name);
        Directory.CreateDirectory(Path.Combine(real, "holders"));
        File.WriteAllText(Path.Combine(real, "dev"), number + "\n");
        File.CreateSymbolicLink(Path.Combine(Paths.Sys, "class/block", Path.GetFileName(name)), real);
        return real;
    }

    public void Mount(params string[] numbers) => File.WriteAllLines(
        Path.Combine(Paths.Proc, "self/mountinfo"), numbers.Select(n => $"36 35 {n} / /mnt rw - ext4 /dev/x rw"));

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private void SetDriver(string address, string? driver)
    {
        string link = Path.Combine(Paths.Sys, "devices/pci0000:00", address, "driver");
        File.Delete(link);
        if (driver is not null)
        {
            File.CreateSymbolicLink(link, Paths.Driver(driver));
        }
    }

    private void Kernel(string path, string text)
    {
        Writes.Add($"{Path.GetRelativePath(Paths.Sys, path)} <- {text.Replace("\n", "\\n", StringComparison.Ordinal)}");
        switch (Path.GetFileName(path))
        {
            case "driver_override":
                File.WriteAllText(path, text);
                break;
            case "unbind":
                SetDriver(text, null);
                break;
            case "drivers_probe":
                string chosen = File.ReadAllText(Path.Combine(Paths.Sys, "bus/pci/devices", text, "driver_override")).Trim();
                string? driver = chosen.Length > 0 ? chosen : NativeDrivers.GetValueOrDefault(text);
                SetDriver(text, driver is not null && Directory.Exists(Paths.Driver(driver)) ? driver : null);
                break;
        }
    }
}
