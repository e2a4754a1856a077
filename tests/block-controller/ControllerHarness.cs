using Vhost.Abstractions;
using Vhost.ContractKit;
using Vhost.Linux;
using Vhost.Testing.DeviceModels;
using Vhost.VfioUser;

namespace Vhost.Testing.BlockController;

/// <summary>A driver, a model of its controller behind a socket, and guest memory that the model can reach.</summary>
public abstract unsafe class ControllerHarness<TModel> : IDisposable
    where TModel : PciModel
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vhost-").FullName;
    private readonly MemoryFile _guestFile;
    private readonly MemoryMapping _guest;
    private readonly MemoryRegistryStandIn _registry = new();
    private readonly ulong _guestBytes;
    private VfioUserServer? _server;

    protected ControllerHarness(TModel model, int guestBytes)
    {
        Model = model;
        _guestBytes = (ulong)guestBytes;
        _guestFile = MemoryFile.Create("guest", (nuint)guestBytes);
        _guest = MemoryMapping.MapShared(_guestFile.Raw, 0, (nuint)guestBytes);
        SocketPath = Path.Combine(_directory, "model.sock");
    }

    public TModel Model { get; }

    public string SocketPath { get; }

    public BdevHarness Bdevs { get; private set; } = null!;

    /// <summary>Guest memory; once it was announced with its file the device reaches it.</summary>
    public byte* Guest => _guest.Address;

    /// <summary>Commands that went through a bounce buffer.</summary>
    public long Bounced => long.Parse(Detail("bounced_commands"), System.Globalization.CultureInfo.InvariantCulture);

    public string LogText => string.Join("\n", Bdevs.Log.Lines.Select(line => $"{line.Level}: {line.Text}"));

    public string Detail(string name) => ((IDetailSource)Bdevs.Bdev).GetDetails()[name];

    public void AnnounceGuest(MemoryBackingKind kind = MemoryBackingKind.Ram, nint offset = 0, ulong? length = null) =>
        _registry.Register(new MemoryRegion(0, (nint)_guest.Address + offset, length ?? _guestBytes, true, new MemoryBacking(kind, 4096, _guestFile.Raw, (ulong)offset)));

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
        GC.SuppressFinalize(this);
    }

    /// <summary>Ends construction: the driver's side.</summary>
    protected void Drive(IBdevFactory factory, object options, string name, string? bdevName, bool startsServer)
    {
        if (startsServer)
        {
            StartServer();
        }

        Bdevs = new BdevHarness(factory, options, name, memory: _registry) { BdevName = bdevName, TurnsAllReactors = true };
    }
}
