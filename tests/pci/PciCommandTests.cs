using System.CommandLine;
using System.Text.Json.Nodes;
using Vhost.Host.Cli;

namespace Vhost.Pci.Tests;

public sealed class PciCommandTests
{
    [Fact]
    public void Controllers_are_listed_for_people_and_for_programs()
    {
        using var machine = new FakeMachine();
        machine.AddDriver("vfio-pci");
        machine.AddDevice("0000:00:1f.0", classCode: 0x060100);
        string nvme = machine.AddDevice("0000:00:05.0", driver: "nvme", group: "7");
        machine.AddBlock(nvme, "nvme/nvme0", "nvme0n1", "259:0");
        machine.Mount("259:0");
        machine.AddDevice("0000:00:06.0", driver: "nvme", group: "8");

        var (code, output, _) = Run(machine, "list");
        Assert.Equal(0, code);
        Assert.Matches("0000:00:05.0 +1b36:0010 +NVMe +nvme +7 +nvme0n1 +no: ", output);
        Assert.Matches("0000:00:06.0 .* yes", output);
        Assert.DoesNotContain("1f.0", output, StringComparison.Ordinal);
        Assert.Contains("1f.0", Run(machine, "list", "--all").Output, StringComparison.Ordinal);

        var devices = JsonNode.Parse(Run(machine, "list", "--json").Output)!["devices"]!.AsArray();
        Assert.Equal(2, devices.Count);
        Assert.False(devices[0]!["safeToTake"]!.GetValue<bool>());
        Assert.Equal("inUse", devices[0]!["problems"]![0]!["code"]!.GetValue<string>());
        Assert.True(devices[1]!["safeToTake"]!.GetValue<bool>());
    }

    [Fact]
    public void Devices_are_bound_and_given_back_and_a_refused_one_does_not_stop_the_others()
    {
        using var machine = new FakeMachine();
        machine.AddDriver("vfio-pci");
        string used = machine.AddDevice("0000:00:05.0", driver: "nvme", group: "7");
        machine.AddBlock(used, "nvme/nvme0", "nvme0n1", "259:0");
        machine.Mount("259:0");
        machine.AddDevice("0000:00:06.0", driver: "nvme", group: "8");

        var (code, output, error) = Run(machine, "bind", "0000:00:05.0", "00:06.0");
        Assert.Equal(1, code);
        Assert.Contains("0000:00:06.0 is bound to vfio-pci", output, StringComparison.Ordinal);
        Assert.Contains("error: 0000:00:05.0 cannot be bound to vfio-pci: 0000:00:05.0 is in use", error, StringComparison.Ordinal);
        Assert.Equal("nvme", machine.Inventory().Find(new PciAddress(0, 0, 5, 0))!.Driver);

        var json = Run(machine, "unbind", "0000:00:06.0", "--json");
        Assert.Equal(0, json.Code);
        Assert.Equal("nvme", JsonNode.Parse(json.Output)!["devices"]![0]!["driver"]!.GetValue<string>());
    }

    [Fact]
    public void Vvu_devices_are_listed_and_bound_and_virtio_mem_is_not_taken_for_one()
    {
        using var machine = new FakeMachine();
        machine.AddDriver("uio_pci_generic");
        machine.AddDevice("0000:00:07.0", classCode: 0x00ff00, driver: "virtio-pci", vendor: 0x1af4, device: 0x1017, bar2Bytes: 1UL << 36);
        machine.AddDevice("0000:00:08.0", classCode: 0x00ff00, driver: "virtio-pci", group: "9", vendor: 0x1af4, device: 0x1058, bar2Bytes: 1UL << 36);
        machine.AddDevice("0000:00:09.0", classCode: 0x00ff00, driver: "virtio-pci", vendor: 0x1af4, device: 0x1058, bar2Bytes: 1UL << 30);
        machine.AddDevice("0000:00:0a.0", classCode: 0x00ff00, driver: "virtio-pci", vendor: 0x1af4, device: 0x1058);
        var output = Run(machine, "list").Output;
        Assert.Matches("0000:00:07.0 +1af4:1017 +vvu +virtio-pci +- +- +yes", output);
        Assert.Matches("0000:00:08.0 +1af4:1058 +vvu +virtio-pci +9 +- +yes", output);
        Assert.DoesNotContain("0000:00:09.0", output, StringComparison.Ordinal);
        Assert.DoesNotContain("0000:00:0a.0", output, StringComparison.Ordinal);
        var devices = JsonNode.Parse(Run(machine, "list", "--json").Output)!["devices"]!.AsArray();
        Assert.All(devices, device => Assert.True(device!["virtioVhostUser"]!.GetValue<bool>()));

        Assert.Equal(0, Run(machine, "bind", "0000:00:07.0").Code);
        Assert.Equal("uio_pci_generic", machine.Inventory().Find(new PciAddress(0, 0, 7, 0))!.Driver);
        Assert.Matches("0000:00:07.0 +1af4:1017 +vvu +uio_pci_generic", Run(machine, "list").Output);
    }

    [Theory]
    [InlineData("bind", "sda")]
    [InlineData("unbind", "0000:00:06.9")]
    public void What_is_no_address_is_a_wrong_command_line_and_nothing_is_touched(string command, string address)
    {
        using var machine = new FakeMachine();
        machine.AddDriver("vfio-pci");
        machine.AddDevice("0000:00:06.0", driver: "nvme", group: "8");
        var (code, _, error) = Run(machine, command, "0000:00:06.0", address);
        Assert.Equal(2, code);
        Assert.Contains($"'{address}' is no PCI address", error, StringComparison.Ordinal);
        Assert.Empty(machine.Writes);
    }

    [Fact]
    public void A_device_that_is_not_there_is_named()
    {
        using var machine = new FakeMachine();
        var (code, output, error) = Run(machine, "bind", "0000:00:09.0", "--json");
        Assert.Equal(1, code);
        Assert.Contains("there is no device 0000:00:09.0", error, StringComparison.Ordinal);
        Assert.Contains("there is no device", JsonNode.Parse(output)!["devices"]![0]!["error"]!.GetValue<string>(), StringComparison.Ordinal);
        Assert.NotEmpty(PciCommand.Create(machine.Inventory()).Parse(["bind"]).Errors);
        Assert.NotEmpty(PciCommand.Create(machine.Inventory()).Parse(["bind", "0000:00:09.0", "--driver", "nvme"]).Errors);
    }

    private static (int Code, string Output, string Error) Run(FakeMachine machine, params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        int code = PciCommand.Create(machine.Inventory()).Parse(arguments).Invoke(new InvocationConfiguration { Output = output, Error = error });
        return (code, output.ToString(), error.ToString());
    }
}
