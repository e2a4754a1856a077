using System.Globalization;
using Vhost.Linux;
using Vhost.Pci.Inventory;

namespace Vhost.Pci;

/// <summary>
/// Lists this machine's PCI functions, says what stands in the way of driving one, and binds and restores them. Control threads.
/// </summary>
/// <param name="paths">Where the kernel's files are.</param>
public sealed class PciInventory(PciPaths? paths = null)
{
    /// <summary>The driver for machines with an IOMMU.</summary>
    public const string VfioDriver = "vfio-pci";

    /// <summary>The driver for machines without one.</summary>
    public const string UioDriver = "uio_pci_generic";

    // Less than this is too little for queues and any guest's memory.
    private const ulong LeastLockedMemory = 1UL << 30;

    private readonly PciPaths _paths = paths ?? new PciPaths();

    /// <summary>Writes to a file of sysfs; tests put a kernel of their own here.</summary>
    internal Action<string, string>? Writer { get; init; }

    /// <summary>All functions in order of their addresses.</summary>
    public IReadOnlyList<PciDeviceInfo> List()
    {
        string directory = Path.Combine(_paths.Sys, "bus/pci/devices");
        var usage = new BlockDeviceUsage(_paths);
        var result = new List<PciDeviceInfo>();
        IEnumerable<string> entries = Directory.Exists(directory) ? Directory.EnumerateFileSystemEntries(directory) : [];
        foreach (string entry in entries.Order(StringComparer.Ordinal))
        {
            if (PciAddress.TryParse(Path.GetFileName(entry), out PciAddress address))
            {
                result.Add(Describe(address, usage));
            }
        }

        return result;
    }

    /// <summary>One function, or null where there is none.</summary>
    /// <param name="address">Its address.</param>
    public PciDeviceInfo? Find(PciAddress address) =>
        Directory.Exists(_paths.Device(address)) ? Describe(address, new BlockDeviceUsage(_paths)) : null;

    /// <summary>The driver that suits a function: vfio-pci with an IOMMU, else uio_pci_generic.</summary>
    /// <param name="address">Its address.</param>
    public string PreferredDriver(PciAddress address) => Directory.Exists(Path.Combine(_paths.Device(address), "iommu_group")) ? VfioDriver : UioDriver;

    /// <summary>Everything that stands in the way of driving a function with a driver, each with its remedy.</summary>
    /// <param name="address">Its address.</param>
    /// <param name="driver">vfio-pci, uio_pci_generic, or null for the one that suits.</param>
    public IReadOnlyList<PciProblem> Diagnose(PciAddress address, string? driver = null)
    {
        PciDeviceInfo? device = Find(address);
        if (device is null)
        {
            return [new PciProblem(PciProblemCode.NotFound, $"there is no device {address}", "'vhostd pci list' shows what there is", true)];
        }

        driver ??= PreferredDriver(address);
        var problems = new List<PciProblem>();
        if (device.Obstacle is { } obstacle)
        {
            problems.Add(new PciProblem(PciProblemCode.InUse, $"{address} is in use: {obstacle}", "unmount it, take it out of its volume or choose another device", true));
        }

        if (!Directory.Exists(_paths.Driver(driver)))
        {
            problems.Add(new PciProblem(PciProblemCode.ModuleMissing, $"the driver {driver} is not loaded", $"modprobe {driver.Replace('_', '-')}", true));
        }

        if (driver == VfioDriver)
        {
            DiagnoseVfio(device, problems);
        }
        else
        {
            DiagnoseHugePages(problems);
        }

        return problems;
    }

    /// <summary>Takes a function from its driver and gives it to a driver for processes. Returns the driver's name.</summary>
    /// <param name="address">Its address.</param>
    /// <param name="driver">vfio-pci, uio_pci_generic, or null for the one that suits.</param>
    /// <exception cref="PciException">It is in use, something is missing, or the kernel refuses: says the remedy. The device is as before.</exception>
    public string Bind(PciAddress address, string? driver = null)
    {
        driver ??= PreferredDriver(address);
        if (driver is not (VfioDriver or UioDriver))
        {
            throw new PciException($"{address}: '{driver}' is no driver for this; use {VfioDriver} or {UioDriver}");
        }

        if (Find(address)?.Driver == driver)
        {
            return driver;
        }

        string[] fatal = [.. Diagnose(address, driver).Where(p => p.IsFatal).Select(p => $"{p.Text}; {p.Remedy}")];
        if (fatal.Length > 0)
        {
            throw new PciException($"{address} cannot be bound to {driver}: {string.Join(". Also: ", fatal)}");
        }

        string? before = Find(address)?.Driver;
        try
        {
            Write(Path.Combine(_paths.Device(address), "driver_override"), driver);
            if (before is not null)
            {
                Write(Path.Combine(_paths.Driver(before), "unbind"), address.ToString());
            }

            Write(Path.Combine(_paths.Sys, "bus/pci/drivers_probe"), address.ToString());
            if (Find(address)?.Driver == driver)
            {
                return driver;
            }

            Restore(address);
            throw new PciException($"{address}: {driver} did not take the device; the kernel's log says why (for uio_pci_generic: it needs a shareable INTx line)");
        }
        catch (LinuxException e)
        {
            throw new PciException($"{address} cannot be bound to {driver}: {e.Message}; this needs root", e);
        }
    }

    /// <summary>Gives a function back to the kernel's own driver. Returns the driver that took it, or null where none did.</summary>
    /// <param name="address">Its address.</param>
    /// <exception cref="PciException">The kernel refuses, or a process still drives it.</exception>
    public string? Restore(PciAddress address)
    {
        PciDeviceInfo device = Find(address) ?? throw new PciException($"{address}: there is no such device");
        try
        {
            // An empty line clears the override, so that the device's own driver matches again.
            Write(Path.Combine(_paths.Device(address), "driver_override"), "\n");
            if (device.IsForUserSpace)
            {
                Write(Path.Combine(_paths.Driver(device.Driver!), "unbind"), address.ToString());
            }

            if (device.Driver is null || device.IsForUserSpace)
            {
                Write(Path.Combine(_paths.Sys, "bus/pci/drivers_probe"), address.ToString());
            }
        }
        catch (LinuxException e)
        {
            throw new PciException($"{address} cannot be given back: {e.Message}; this needs root", e);
        }

        return Find(address)?.Driver;
    }

    private static uint Hex(string directory, string name)
    {
        string path = Path.Combine(directory, name);
        return File.Exists(path) && File.ReadAllText(path).Trim() is ['0', 'x', .. var digits]
            && uint.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint value) ? value : 0;
    }

    private PciDeviceInfo Describe(PciAddress address, BlockDeviceUsage usage)
    {
        string directory = _paths.Device(address);
        uint classCode = Hex(directory, "class");
        string? driver = PciPaths.LinkName(Path.Combine(directory, "driver"));
        IReadOnlyList<string> blocks = usage.On(directory);
        return new PciDeviceInfo(
            address,
            (ushort)Hex(directory, "vendor"),
            (ushort)Hex(directory, "device"),
            classCode,
            driver,
            PciPaths.LinkName(Path.Combine(directory, "iommu_group")),
            blocks,
            Obstacle(directory, classCode, blocks, usage))
        {
            IsVirtioVhostUser = IsVirtioVhostUser(directory),
        };
    }

    private static bool IsVirtioVhostUser(string directory)
    {
        const uint RedHat = 0x1af4;
        const uint Transitional = 0x1017;
        const uint Modern = 0x1058;
        const ulong MemoryBarBytes = 1UL << 36;
        return Hex(directory, "vendor") == RedHat
            && (Hex(directory, "device") == Transitional || (Hex(directory, "device") == Modern && BarLength(directory, 2) == MemoryBarBytes));
    }

    private static ulong BarLength(string directory, int bar)
    {
        // A line for each BAR: first byte, last byte, flags.
        string path = Path.Combine(directory, "resource");
        string[] fields = File.Exists(path) ? File.ReadLines(path).ElementAtOrDefault(bar)?.Split(' ') ?? [] : [];
        return fields.Length == 3 && TryHex(fields[0], out ulong first) && TryHex(fields[1], out ulong last) && last > first ? last - first + 1 : 0;
    }

    private static bool TryHex(string text, out ulong value)
    {
        value = 0;
        return text is ['0', 'x', .. var digits] && ulong.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }

    private static string? Obstacle(string directory, uint classCode, IReadOnlyList<string> blocks, BlockDeviceUsage usage)
    {
        const uint Bridge = 0x06; // base class of PCI Code and ID Assignment
        if (classCode >> 16 == Bridge)
        {
            return "it is a bridge, and devices behind it need it";
        }

        foreach (string block in blocks)
        {
            if (usage.WhyInUse(block) is { } reason)
            {
                return reason;
            }
        }

        // Virtio devices have their interfaces one level down.
        IEnumerable<string> places = Directory.EnumerateDirectories(directory, "virtio*").Prepend(directory);
        foreach (string net in places.Select(p => Path.Combine(p, "net")).Where(Directory.Exists).SelectMany(Directory.EnumerateFileSystemEntries))
        {
            string state = Path.Combine(net, "operstate");
            if (File.Exists(state) && File.ReadAllText(state).Trim() != "down")
            {
                return $"the network interface {Path.GetFileName(net)} is up";
            }
        }

        return null;
    }

    private void DiagnoseVfio(PciDeviceInfo device, List<PciProblem> problems)
    {
        if (device.IommuGroup is null)
        {
            problems.Add(new PciProblem(
                PciProblemCode.NoIommu,
                $"{device.Address} has no IOMMU group",
                $"switch the IOMMU on in the firmware and with intel_iommu=on or amd_iommu=on, or use {UioDriver}",
                true));
            return;
        }

        string group = Path.Combine(_paths.Device(device.Address), "iommu_group/devices");
        string[] others =
        [
            .. (Directory.Exists(group) ? Directory.EnumerateFileSystemEntries(group) : [])
                .Select(e => PciAddress.TryParse(Path.GetFileName(e), out PciAddress a) ? a : device.Address)
                .Where(a => a != device.Address && IsHeldByKernel(a))
                .Select(a => a.ToString())
                .Order(StringComparer.Ordinal),
        ];
        if (others.Length > 0)
        {
            // Binding works all the same; opening does not until the others are free, so that a whole group can be bound one by one.
            problems.Add(new PciProblem(
                PciProblemCode.GroupShared,
                $"the IOMMU group {device.IommuGroup} is shared with {string.Join(", ", others)}, which the kernel drives",
                $"bind these to {VfioDriver} as well, or put the device into another slot",
                false));
        }

        ulong limit = ProcessLimits.GetLockedMemoryLimit();
        if (limit < LeastLockedMemory && !ProcessLimits.Has(Capability.IpcLock))
        {
            problems.Add(new PciProblem(
                PciProblemCode.MemoryLockLimit,
                $"the limit on locked memory is {limit} bytes, and guest memory is locked for DMA",
                "set LimitMEMLOCK=infinity in the unit, ulimit -l unlimited in the shell, or give CAP_IPC_LOCK",
                false));
        }
    }

    private void DiagnoseHugePages(List<PciProblem> problems)
    {
        string directory = Path.Combine(_paths.Sys, "kernel/mm/hugepages");
        bool any = Directory.Exists(directory) && Directory.EnumerateDirectories(directory).Select(d => Path.Combine(d, "free_hugepages"))
            .Any(f => File.Exists(f) && File.ReadAllText(f).Trim() != "0");
        if (!any)
        {
            problems.Add(new PciProblem(
                PciProblemCode.NoHugePages,
                "no huge pages are free, and memory for devices without an IOMMU is made of them",
                "sysctl -w vm.nr_hugepages=64; mount -t hugetlbfs none /dev/hugepages",
                false));
        }
    }

    private bool IsHeldByKernel(PciAddress address)
    {
        string directory = _paths.Device(address);
        return Hex(directory, "class") >> 16 != 0x06
            && PciPaths.LinkName(Path.Combine(directory, "driver")) is not (null or VfioDriver or "pci-stub");
    }

    private void Write(string path, string text)
    {
        if (Writer is not null)
        {
            Writer(path, text);
            return;
        }

        using FileDescriptor file = FileIo.Open(path, OpenMode.WriteOnly);
        FileIo.WriteExactly(file.Raw, System.Text.Encoding.ASCII.GetBytes(text), 0);
    }
}
