using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using Vhost.Linux;
using Vhost.VfioUser;
using Vhost.VvuDevice;

var vfioUser = new Option<string>("--vfio-user") { Description = "Socket to serve the PCI device on: QEMU's -device vfio-user-pci connects to it.", Required = true };
var vhostUser = new Option<string>("--vhost-user") { Description = "Socket to serve the other VM on: its vhost-user devices connect to it.", Required = true };
var memory = new Option<FileInfo?>("--memory") { Description = "File with the other VM's memory (its memory-backend-file,share=on). It is created if it is not there. Without it, memory is reached by messages: slowly." };
var memorySize = new Option<ulong>("--memory-size")
{
    Description = "Length of that file: bytes, or a number with K, M or G.",
    CustomParser = result =>
    {
        string text = result.Tokens[0].Value;
        int shift = char.ToUpperInvariant(text[^1]) switch { 'K' => 10, 'M' => 20, 'G' => 30, _ => 0 };
        if (ulong.TryParse(shift == 0 ? text : text[..^1], NumberStyles.None, CultureInfo.InvariantCulture, out ulong number) && number <= ulong.MaxValue >> shift)
        {
            return number << shift;
        }

        result.AddError($"--memory-size: '{text}' is no size; examples: 1073741824, 512M, 4G");
        return 0;
    },
};
var layout = new Option<string>("--layout")
{
    Description = "Which published device to look like: 'capabilities' (2019) or 'fixed' (2018).", DefaultValueFactory = _ => DeviceLayout.Capabilities.Name,
}.AcceptOnlyFromAmong(DeviceLayout.Capabilities.Name, DeviceLayout.Fixed.Name);
var published = new Option<bool>("--published") { Description = "Offer only what the published devices do: no device configuration, so no vhost-blk." };
var noInterruptLine = new Option<bool>("--no-interrupt-line") { Description = "No interrupt pin, MSI-X only: for a driver on uio in QEMU, which stops mapping the memory at the first interrupt of a line." };

var root = new RootCommand("A virtio-vhost-user (vvu) PCI device for stock QEMU: lets vhostd in one VM serve another VM.") { vfioUser, vhostUser, memory, memorySize, layout, published, noInterruptLine };
root.Validators.Add(result =>
{
    if (result.GetResult(memory) is null != result.GetResult(memorySize) is null)
    {
        result.AddError("--memory and --memory-size belong together");
    }
});
root.SetAction(parsed =>
{
    var options = new DeviceOptions(
        parsed.GetRequiredValue(vfioUser), parsed.GetRequiredValue(vhostUser), parsed.GetValue(memory)?.FullName, parsed.GetValue(memorySize),
        parsed.GetValue(layout) == DeviceLayout.Fixed.Name ? DeviceLayout.Fixed : DeviceLayout.Capabilities,
        parsed.GetValue(published),
        !parsed.GetValue(noInterruptLine));
    using var stop = new ManualResetEventSlim();
    using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
    using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
    try
    {
        ProcessLimits.RaiseOpenFilesLimit();
        using var device = new VvuPciDevice(options, Report);
        using var server = new VfioUserServer(options.VfioUserSocket, device, Report);
        Report($"ready: vfio-user {options.VfioUserSocket}, vhost-user {options.VhostUserSocket}, layout {options.Layout.Name}");
        stop.Wait();
        return 0;
    }
    catch (Exception exception) when (exception is IOException or LinuxException or ArgumentException or UnauthorizedAccessException)
    {
        Report(exception.Message);
        return 1;
    }

    void Stop(PosixSignalContext context)
    {
        // The ordinary way out follows, so that the sockets are removed.
        context.Cancel = true;
        stop.Set();
    }

    static void Report(string line) => Console.Error.WriteLine($"vvu-device: {line}");
});
return root.Parse(args).Invoke();
