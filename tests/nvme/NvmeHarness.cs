using Vhost.Abstractions;
using Vhost.ContractKit;
using Vhost.Linux;
using Vhost.Plugins.Nvme;
using Vhost.Testing;
using Vhost.Testing.DeviceModels.Nvme;
using Vhost.VfioUser;

namespace Vhost.Nvme.Tests;

/// <summary>The driver, a model of a controller behind a socket, and guest memory that the model can reach.</summary>
internal sealed unsafe class NvmeHarness : IDisposable
{
    public const int GuestBytes = 8 << 20;
    private readonly string _directory = Directory.CreateTempSubdirectory("vhost-").FullName;
    private readonly MemoryFile _guestFile = MemoryFile.Create("guest", GuestBytes);
    private readonly MemoryMapping _guest;
    private readonly MemoryRegistryStandIn _registry = new();
    private VfioUserServer? _server;

    public NvmeHarness(NvmeSettings? settings = null, Action<NvmeOptions>? configure = null, bool withNamespaces = true, bool startsServer = true, string? bdevName = "Nvme0n1")
    {
        _guest = MemoryMapping.MapShared(_guestFile.Raw, 0, GuestBytes);
        Model = new NvmeModel(settings);
        if (withNamespaces)
        {
            Model.Add(1, new NvmeModelNamespace(512, 32768));
            Model.Add(2, new NvmeModelNamespace(4096, 4096));
        }

        SocketPath = Path.Combine(_directory, "nvme.sock");
        Options = new NvmeOptions { Address = SocketPath, TimeoutSeconds = 1, AttachTimeoutSeconds = 20, QueueSize = 64 };
        configure?.Invoke(Options);
        if (startsServer)
        {
            StartServer();
        }

        Bdevs = new BdevHarness(new NvmeBdevFactory(), Options, "Nvme0", memory: _registry) { BdevName = bdevName, TurnsAllReactors = true };
    }

    public NvmeModel Model { get; }

    public NvmeOptions Options { get; }

    public string SocketPath { get; }

    public BdevHarness Bdevs { get; }

    /// <summary>Guest memory that was announced with its file: the device reaches it.</summary>
    public byte* Guest => _guest.Address;

    /// <summary>Commands that went through a bounce buffer.</summary>
    public long Bounced => long.Parse(((IDetailSource)Bdevs.Bdev).GetDetails()["bounced_commands"], System.Globalization.CultureInfo.InvariantCulture);

    public string LogText => string.Join("\n", Bdevs.Log.Lines.Select(line => $"{line.Level}: {line.Text}"));

    public void AnnounceGuest(nint offset = 0, ulong length = GuestBytes) =>
        _registry.Register(new MemoryRegion(0, (nint)_guest.Address + offset, length, true, new MemoryBacking(MemoryBackingKind.Ram, 4096, _guestFile.Raw, (ulong)offset)));

    public NvmeHarness Start()
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
