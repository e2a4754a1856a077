using System.CommandLine;
using System.Text.Json.Nodes;
using Vhost.Pci;

namespace Vhost.Host.Cli;

/// <summary><c>vhostd pci</c>: which devices there are, and taking them from the kernel's drivers and giving them back.</summary>
internal static class PciCommand
{
    /// <summary>Makes the command.</summary>
    /// <param name="inventory">The machine's devices.</param>
    internal static Command Create(PciInventory inventory) =>
        new("pci", "List PCI devices, take them for vhostd, and give them back to the kernel.") { List(inventory), Bind(inventory), Unbind(inventory) };

    private static Command List(PciInventory inventory)
    {
        var all = new Option<bool>("--all") { Description = "Also devices that are neither storage controllers nor vvu devices." };
        Option<bool> json = CommonOptions.Json();
        var command = new Command("list", "List storage controllers and vvu devices with driver, IOMMU group, disks, and whether it is safe to take them.") { all, json };
        command.SetAction(parsed =>
        {
            var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            PciDeviceInfo[] devices = [.. inventory.List().Where(device => parsed.GetValue(all) || device.ClassCode >> 16 == 1 || device.IsForUserSpace || device.IsVirtioVhostUser)];
            if (parsed.GetValue(json))
            {
                output.Json(new JsonObject { ["devices"] = new JsonArray([.. devices.Select(device => ToJson(device, inventory))]) });
            }
            else
            {
                PrintTable(output, devices);
            }

            return ExitCode.Success;
        });
        return command;
    }

    private static Command Bind(PciInventory inventory)
    {
        Argument<string[]> addresses = Addresses();
        var driver = new Option<string?>("--driver") { Description = "vfio-pci or uio_pci_generic, instead of the one that suits: vfio-pci with an IOMMU, else uio_pci_generic.", HelpName = "DRIVER" };
        driver.AcceptOnlyFromAmong(PciInventory.VfioDriver, PciInventory.UioDriver);
        Option<bool> json = CommonOptions.Json();
        var command = new Command("bind", "Take devices from the kernel's drivers. A disk that is in use is refused. Needs root. Exit code 1 if one could not be bound.") { addresses, driver, json };
        command.SetAction(parsed => ForEach(parsed, addresses, json, inventory, address => inventory.Bind(address, parsed.GetValue(driver)), "is bound to"));
        return command;
    }

    private static Command Unbind(PciInventory inventory)
    {
        Argument<string[]> addresses = Addresses();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("unbind", "Give devices back to the kernel's own drivers. Needs root. Exit code 1 if one could not be given back.") { addresses, json };
        command.SetAction(parsed => ForEach(parsed, addresses, json, inventory, inventory.Restore, "is given back to"));
        return command;
    }

    private static Argument<string[]> Addresses() =>
        new("ADDRESS") { Description = "PCI addresses, dddd:bb:dd.f; the domain may be left out.", Arity = ArgumentArity.OneOrMore };

    // Each device by itself: one that is refused does not stop the others. Nothing is touched where an address is no address.
    private static int ForEach(
        ParseResult parsed, Argument<string[]> argument, Option<bool> json, PciInventory inventory, Func<PciAddress, string?> action, string verb)
    {
        var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
        var addresses = new List<PciAddress>();
        foreach (string text in parsed.GetRequiredValue(argument))
        {
            if (!PciAddress.TryParse(text, out PciAddress address))
            {
                output.Error($"error: '{text}' is no PCI address (dddd:bb:dd.f)");
                return ExitCode.Usage;
            }

            addresses.Add(address);
        }

        int code = ExitCode.Success;
        var results = new JsonArray();
        foreach (PciAddress address in addresses.Distinct())
        {
            string? driver = null;
            string? failure = null;
            try
            {
                driver = action(address);
                if (!parsed.GetValue(json))
                {
                    output.Line($"{address} {verb} {driver ?? "no driver: none of the kernel's wants it"}");
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                failure = e.Message;
                code = ExitCode.Failure;
                output.Error($"error: {failure}");
            }

            // What does not stop the binding but will stop a driver: too little locked memory, no huge pages.
            PciProblem[] warnings = failure is null && driver is PciInventory.VfioDriver or PciInventory.UioDriver
                ? [.. inventory.Diagnose(address, driver).Where(problem => !problem.IsFatal)]
                : [];
            foreach (PciProblem warning in warnings)
            {
                output.Error($"warning: {warning.Text}; {warning.Remedy}");
            }

            results.Add(new JsonObject
            {
                ["address"] = address.ToString(),
                ["driver"] = driver,
                ["error"] = failure,
                ["warnings"] = new JsonArray([.. warnings.Select(ToJson)]),
            });
        }

        if (parsed.GetValue(json))
        {
            output.Json(new JsonObject { ["devices"] = results });
        }

        return code;
    }

    private static void PrintTable(Output output, PciDeviceInfo[] devices)
    {
        string[][] rows =
        [
            ["ADDRESS", "ID", "CLASS", "DRIVER", "GROUP", "DISKS", "SAFE TO TAKE"],
            .. devices.Select(device => (string[])
            [
                device.Address.ToString(),
                $"{device.VendorId:x4}:{device.DeviceId:x4}",
                ClassOf(device),
                device.Driver ?? "-",
                device.IommuGroup ?? "-",
                device.BlockDevices.Count == 0 ? "-" : string.Join(",", device.BlockDevices),
                device.Obstacle is { } obstacle ? $"no: {obstacle}" : "yes",
            ]),
        ];
        int[] widths = [.. Enumerable.Range(0, rows[0].Length).Select(column => rows.Max(row => row[column].Length))];
        foreach (string[] row in rows)
        {
            output.Line(string.Join("  ", row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd());
        }
    }

    private static string ClassOf(PciDeviceInfo device) => (device.ClassCode >> 8) switch
    {
        0x0100 => "SCSI",
        0x0101 => "IDE",
        0x0104 => "RAID",
        0x0106 => "SATA",
        0x0107 => "SAS",
        0x0108 => "NVMe",
        _ => device.IsVirtioVhostUser ? "vvu" : $"{device.ClassCode:x6}",
    };

    private static JsonObject ToJson(PciDeviceInfo device, PciInventory inventory) => new()
    {
        ["address"] = device.Address.ToString(),
        ["vendorId"] = $"{device.VendorId:x4}",
        ["deviceId"] = $"{device.DeviceId:x4}",
        ["classCode"] = $"{device.ClassCode:x6}",
        ["virtioVhostUser"] = device.IsVirtioVhostUser,
        ["driver"] = device.Driver,
        ["iommuGroup"] = device.IommuGroup,
        ["blockDevices"] = new JsonArray([.. device.BlockDevices.Select(name => JsonValue.Create(name))]),
        ["safeToTake"] = device.IsSafeToTake,
        ["obstacle"] = device.Obstacle,
        ["bound"] = device.IsForUserSpace,
        ["problems"] = new JsonArray([.. inventory.Diagnose(device.Address).Select(ToJson)]),
    };

    private static JsonObject ToJson(PciProblem problem) => new()
    {
        ["code"] = System.Text.Json.JsonNamingPolicy.CamelCase.ConvertName(problem.Code.ToString()),
        ["text"] = problem.Text,
        ["remedy"] = problem.Remedy,
        ["fatal"] = problem.IsFatal,
    };
}
