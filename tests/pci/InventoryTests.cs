namespace Vhost.Pci.Tests;

public sealed class InventoryTests
{
    private static readonly PciAddress Disk = new(0, 0, 5, 0);

    [Fact]
    public void Devices_are_listed_with_driver_group_disks_and_safety()
    {
        using var machine = new FakeMachine();
        machine.AddDevice("0000:00:1f.0", classCode: 0x060100);
        string nvme = machine.AddDevice("0000:00:05.0", driver: "nvme", group: "7");
        machine.AddBlock(nvme, "nvme/nvme0", "nvme0n1", "259:0");
        IReadOnlyList<PciDeviceInfo> list = machine.Inventory().List();
        Assert.Equal(["0000:00:05.0", "0000:00:1f.0"], list.Select(d => d.Address.ToString()));
        Assert.Equal(("nvme", "7", true), (list[0].Driver, list[0].IommuGroup, list[0].IsSafeToTake));
        Assert.Equal((0x1b36, 0x10, 0x010802u), (list[0].VendorId, list[0].DeviceId, list[0].ClassCode));
        Assert.Equal(["nvme0n1"], list[0].BlockDevices);
        Assert.False(list[1].IsSafeToTake);
    }

    [Fact]
    public void The_machine_that_runs_the_test_can_be_listed_and_its_root_disk_is_not_offered()
    {
        IReadOnlyList<PciDeviceInfo> list = new PciInventory().List();
        Assert.Equal(Directory.Exists("/sys/bus/pci/devices") ? Directory.GetFileSystemEntries("/sys/bus/pci/devices").Length : 0, list.Count);
        Assert.All(list, d => Assert.NotEqual(0, d.VendorId));
        string root = File.ReadLines("/proc/self/mountinfo").Select(l => l.Split(' ')).First(f => f[4] == "/")[2];
        string link = Path.Combine("/sys/dev/block", root);
        if (Directory.Exists(link))
        {
            string name = Path.GetFileName(new DirectoryInfo(link).ResolveLinkTarget(returnFinalTarget: true)!.FullName);
            Assert.DoesNotContain(list, d => d.IsSafeToTake && d.BlockDevices.Contains(name));
        }
    }

    [Theory]
    [InlineData("mounted")]
    [InlineData("partition mounted")]
    [InlineData("swap")]
    [InlineData("held")]
    [InlineData("multipath mounted")]
    [InlineData("network")]
    public void What_this_machine_uses_is_refused(string use)
    {
        using var machine = new FakeMachine();
        machine.AddDriver("vfio-pci");
        string device = machine.AddDevice("0000:00:05.0", driver: "nvme", group: "7");
        string disk = machine.AddBlock(device, "nvme/nvme0", "nvme0n1", "259:0");
        machine.AddBlock(device, "nvme/nvme0/nvme0n1", "nvme0n1p1", "259:1");
        switch (use)
        {
            case "mounted":
                machine.Mount("8:1", "259:0");
                break;
            case "partition mounted":
                machine.Mount("259:1");
                break;
            case "swap":
                File.WriteAllText(Path.Combine(machine.Paths.Proc, "swaps"), "Filename Type\n/dev/nvme0n1p1 partition\n");
                break;
            case "held":
                Directory.CreateDirectory(Path.Combine(disk, "holders/dm-3"));
                break;
            case "multipath mounted":
                string subsystem = Path.Combine(machine.Paths.Sys, "devices/virtual/nvme-subsystem/nvme-subsys0");
                Directory.CreateDirectory(Path.Combine(subsystem, "nvme0"));
                machine.AddBlock(subsystem, "", "nvme9n1", "259:9");
                Directory.CreateDirectory(Path.Combine(machine.Paths.Sys, "class/nvme-subsystem"));
                File.CreateSymbolicLink(Path.Combine(machine.Paths.Sys, "class/nvme-subsystem/nvme-subsys0"), subsystem);
                machine.Mount("259:9");
                break;
            case "network":
                Directory.CreateDirectory(Path.Combine(device, "virtio3/net/eth0"));
                File.WriteAllText(Path.Combine(device, "virtio3/net/eth0/operstate"), "up\n");
                break;
        }

        PciInventory inventory = machine.Inventory();
        Assert.False(inventory.Find(Disk)!.IsSafeToTake);
        Assert.Contains("in use", Assert.Throws<PciException>(() => inventory.Bind(Disk)).Message, StringComparison.Ordinal);
        Assert.Empty(machine.Writes);
    }

    [Fact]
    public void A_device_is_bound_by_override_and_given_back()
    {
        using var machine = new FakeMachine();
        machine.AddDriver("vfio-pci");
        machine.AddDevice("0000:00:05.0", driver: "nvme", group: "7");
        PciInventory inventory = machine.Inventory();
        Assert.Equal("vfio-pci", inventory.Bind(Disk));
        Assert.Equal(
            [
                "bus/pci/devices/0000:00:05.0/driver_override <- vfio-pci",
                "bus/pci/drivers/nvme/unbind <- 0000:00:05.0",
                "bus/pci/drivers_probe <- 0000:00:05.0",
            ],
            machine.Writes);
        Assert.True(inventory.Find(Disk)!.IsForUserSpace);
        machine.Writes.Clear();
        Assert.Equal("vfio-pci", inventory.Bind(Disk));
        Assert.Empty(machine.Writes);
        Assert.Equal("nvme", inventory.Restore(Disk));
        Assert.Equal("bus/pci/devices/0000:00:05.0/driver_override <- \\n", machine.Writes[0]);
    }

    [Fact]
    public void A_device_that_the_driver_does_not_take_goes_back_to_its_own()
    {
        using var machine = new FakeMachine();
        machine.AddDriver("vfio-pci");
        machine.AddDevice("0000:00:05.0", driver: "nvme", group: "7");
        var inventory = new PciInventory(machine.Paths)
        {
            Writer = (path, text) =>
            {
                // A kernel whose vfio-pci refuses: the override matches nothing.
                machine.Inventory().Writer!(path, text == "vfio-pci" ? "refuses" : text);
            },
        };
        Assert.Contains("did not take", Assert.Throws<PciException>(() => inventory.Bind(Disk)).Message, StringComparison.Ordinal);
        Assert.Equal("nvme", inventory.Find(Disk)!.Driver);
    }

    [Fact]
    public void Everything_that_is_missing_is_named_with_its_remedy()
    {
        using var machine = new FakeMachine();
        machine.AddDevice("0000:00:05.0", driver: "nvme");
        PciInventory inventory = machine.Inventory();
        Assert.Equal(PciInventory.UioDriver, inventory.PreferredDriver(Disk));
        Assert.Equal(
            [PciProblemCode.ModuleMissing, PciProblemCode.NoIommu],
            inventory.Diagnose(Disk, "vfio-pci").Select(p => p.Code));
        Assert.Equal(
            [PciProblemCode.ModuleMissing, PciProblemCode.NoHugePages],
            inventory.Diagnose(Disk).Select(p => p.Code));
        Assert.Contains("modprobe uio-pci-generic", Assert.Throws<PciException>(() => inventory.Bind(Disk)).Message, StringComparison.Ordinal);
        Assert.Equal(PciProblemCode.NotFound, Assert.Single(inventory.Diagnose(new PciAddress(0, 9, 9, 0))).Code);
        Assert.Throws<PciException>(() => inventory.Bind(Disk, "nvme"));
        Assert.All(inventory.Diagnose(Disk, "vfio-pci"), p => Assert.NotEmpty(p.Remedy));
    }

    [Fact]
    public void A_shared_group_is_named_and_its_bridges_are_not()
    {
        using var machine = new FakeMachine();
        machine.AddDriver("vfio-pci");
        machine.AddDevice("0000:00:05.0", driver: "nvme", group: "7");
        machine.AddDevice("0000:00:05.1", driver: "ahci", group: "7", classCode: 0x010601);
        machine.AddDevice("0000:00:1c.0", driver: "pcieport", group: "7", classCode: 0x060400);
        PciProblem problem = machine.Inventory().Diagnose(Disk).First(p => p.Code == PciProblemCode.GroupShared);
        Assert.Contains("0000:00:05.1", problem.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("1c.0", problem.Text, StringComparison.Ordinal);
    }
}
