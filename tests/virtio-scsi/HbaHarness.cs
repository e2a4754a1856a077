using Vhost.Abstractions;
using Vhost.ContractKit;
using Vhost.Linux;
using Vhost.Plugins.VirtioScsi;
using Vhost.Testing;
using Vhost.Testing.DeviceModels.VirtioScsi;
using Vhost.VfioUser;

namespace Vhost.VirtioScsi.Tests;

/// <summary>The driver, a model of an HBA with disks at targets 0 (512-byte blocks) and 3 (4096), and guest memory that it can reach.</summary>
internal sealed unsafe class HbaHarness : IDisposable
{
    public const int GuestBytes = 4 << 20;
    private readonly string _directory = Directory.CreateTempSubdirectory("vhost-").FullName;
    private readonly MemoryFile _guestFile = MemoryFile.Create("guest", GuestBytes);
    private readonly MemoryMapping _guest;
    private readonly MemoryRegistryStandIn _registry = new();
    private VfioUserServer? _server;

    public HbaHarness(VirtioScsiSettings? settings = null, int attachTimeoutSeconds = 20, string bdevName = "Hba0t0", bool startsServer = true)
    {
        _guest = MemoryMapping.MapShared(_guestFile.Raw, 0, GuestBytes);
        Model = new VirtioScsiModel(settings);
        Model.Add(0, 512, 32768);
        Model.Add(3, 4096, 4096);
        SocketPath = Path.Combine(_directory, "hba.sock");
        if (startsServer)
        {
            StartServer();
        }

        Bdevs = new BdevHarness(
            new VirtioScsiBdevFactory(), new VirtioScsiOptions { Address = SocketPath, TimeoutSeconds = 1, AttachTimeoutSeconds = attachTimeoutSeconds, QueueSize = 64 }, "Hba0", memory: _registry)
        {
            BdevName = bdevName,
            TurnsAllReactors = true,
        };
    }

    public VirtioScsiModel Model { get; }

    public string SocketPath { get; }

    public BdevHarness Bdevs { get; }

    public byte* Guest => _guest.Address;

    public long Bounced => long.Parse(((IDetailSource)Bdevs.Bdev).GetDetails()["bounced_commands"], System.Globalization.CultureInfo.InvariantCulture);

    public string LogText => string.Join("\n", Bdevs.Log.Lines.Select(line => $"{line.Level}: {line.Text}"));

    public void AnnounceGuest(MemoryBackingKind kind = MemoryBackingKind.Ram) =>
        _registry.Register(new MemoryRegion(0, (nint)_guest.Address, GuestBytes, true, new MemoryBacking(kind, 4096, _guestFile.Raw)));

    public HbaHarness Start()
    {
        Bdevs.Start();
        return this;
    }

    public void StartServer() => _server = new VfioUserServer(SocketPath, Model);

    public void StopServer()
    {
        _server?.Dispose();
        _server = null;
    }

    public void AwaitLog(string text) => Bdevs.TurnUntil(() => LogText.Contains(text, StringComparison.Ordinal), $"'{text}' in the log");

    public void Dispose()
    {
        Bdevs.Dispose();
        StopServer();
        Model.Dispose();
        _guest.Dispose();
        _guestFile.Dispose();
        Directory.Delete(_directory, recursive: true);
    }
}
