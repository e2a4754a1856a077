using System.Collections.Concurrent;
using Vhost.Abstractions;
using Vhost.Plugins.VhostBlk;
using Vhost.Plugins.VhostScsi;
using Vhost.Plugins.VvuTransport;
using Vhost.Testing;
using Vhost.Testing.FrontEnd;
using Vhost.VfioUser;
using Vhost.VhostUser;
using Vhost.VvuDevice;

namespace Vhost.Vvu.Tests;

/// <summary>
/// Both sides of the link: the other VM's memory and a vvu device in front of it; a real device type behind a real vvu transport, on a reactor that a thread turns.
/// </summary>
internal sealed class VvuHarness : IAsyncDisposable
{
    private static readonly TimeSpan WaitLimit = TimeSpan.FromSeconds(60);
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("vvu");
    private readonly ManualReactor _reactor = new();
    private Thread _thread = null!;
    private readonly Func<IVfioUserDevice, IVfioUserDevice>? _replace;
    private readonly bool _isProcess;
    private VvuPciDevice? _pci;
    private VfioUserServer? _server;
    private volatile bool _stop;
    private Exception? _failure;

    public VvuHarness(string layout = "capabilities", bool isBlk = false, bool isPublished = false, ulong memoryBytes = 16 << 20, TimeSpan? drainTimeout = null, bool hasFile = true, bool isProcess = false, bool hasLine = true, Func<IVfioUserDevice, IVfioUserDevice>? replace = null)
    {
        _replace = replace;
        _isProcess = isProcess;
        Memory = new GuestMemory(0, memoryBytes);
        VfioUserSocket = Path.Combine(_directory.FullName, "vfio-user");
        VhostUserSocket = Path.Combine(_directory.FullName, "vhost-user");
        Options = new DeviceOptions(
            VfioUserSocket, VhostUserSocket, hasFile ? $"/proc/self/fd/{Memory.Regions[0].File.Raw}" : null, hasFile ? memoryBytes : 0,
            layout == "fixed" ? DeviceLayout.Fixed : DeviceLayout.Capabilities, isPublished, hasLine);
        Context = new TransportContext { Name = "guest", Memory = Registry, Logger = Logger, DrainTimeout = drainTimeout ?? TimeSpan.FromSeconds(3) };
        Device = CreateDevice(isBlk);
        Transport = CreateTransport();
        if (!isProcess)
        {
            StartPciDevice();
        }

        GiveReactor();
    }

    public GuestMemory Memory { get; }

    public string VfioUserSocket { get; }

    public string VhostUserSocket { get; }

    public DeviceOptions Options { get; }

    public MemoryBdevPort Port { get; } = new(blockCount: 16384);

    public RecordingLogger Logger { get; } = new();

    public RecordingRegistry Registry { get; } = new();

    public ConcurrentQueue<string> DeviceLines { get; } = new();

    public TransportContext Context { get; }

    public IVirtioDevice Device { get; }

    public ITransport Transport { get; private set; }

    /// <summary>Whether a request that never ended may keep its memory for good.</summary>
    public bool MayRetainMemory { get; set; }

    public static async Task<VvuHarness> StartAsync(string layout = "capabilities", bool isBlk = false, bool isPublished = false, TimeSpan? drainTimeout = null, bool hasFile = true)
    {
        var harness = new VvuHarness(layout, isBlk, isPublished, drainTimeout: drainTimeout, hasFile: hasFile);
        await harness.Transport.StartAsync(harness.Device, CancellationToken.None).AsTask().WaitAsync(WaitLimit);
        return harness;
    }

    public ITransport CreateTransport()
    {
        ITransportFactory factory = new VvuTransportFactory();
        return factory.Create(Context, new VvuTransportOptions { Address = VfioUserSocket });
    }

    public async Task RestartTransportAsync()
    {
        await Transport.DisposeAsync();
        Transport = CreateTransport();
        await Transport.StartAsync(Device, CancellationToken.None).AsTask().WaitAsync(WaitLimit);
    }

    public void StartPciDevice()
    {
        _pci = new VvuPciDevice(Options, DeviceLines.Enqueue);
        _server = new VfioUserServer(VfioUserSocket, _replace?.Invoke(_pci) ?? _pci, DeviceLines.Enqueue);
    }

    public void StopPciDevice()
    {
        _server?.Dispose();
        _pci?.Dispose();
        _server = null;
        _pci = null;
    }

    /// <summary>The other VM connects, negotiates and starts its queues.</summary>
    public FrontEndDevice Connect(bool isScsi, int queueCount = 1) => FrontEndDevice.Connect(VhostUserSocket, Memory, new FrontEndOptions
    {
        QueueCount = queueCount,
        QueueSize = 64,
        FirstRequestQueue = isScsi ? VirtioScsiRequests.FirstRequestQueue : 0,
        ProtocolFeatures = isScsi ? (ProtocolFeatures)ulong.MaxValue & ~ProtocolFeatures.Config : (ProtocolFeatures)ulong.MaxValue,
    });

    public FrontEndConnection ConnectRaw() => FrontEndConnection.Connect(VhostUserSocket);

    public static async Task WaitForAsync(Func<bool> condition, string what)
    {
        var deadline = DateTime.UtcNow + WaitLimit;
        while (!condition())
        {
            Assert.True(DateTime.UtcNow < deadline, $"waited in vain for: {what}");
            await Task.Delay(5, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>The reactor: the caller's to turn between <see cref="TakeReactor"/> and <see cref="GiveReactor"/>.</summary>
    public ManualReactor Reactor => _reactor;

    /// <summary>Stops the thread that turns the reactor.</summary>
    public void TakeReactor()
    {
        _stop = true;
        _thread.Join();
    }

    /// <summary>Lets a thread turn the reactor again.</summary>
    public void GiveReactor()
    {
        _stop = false;
        _thread = new Thread(Turn) { Name = "reactor", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Does something on the reactor's thread.</summary>
    public void OnReactor(Action action) => _reactor.Post(static state => ((Action)state!)(), action);

    public string AllLines() => string.Join('\n', [.. DeviceLines, .. Logger.Lines.Select(line => $"{line.Level}: {line.Text}")]);

    public async ValueTask DisposeAsync()
    {
        await Transport.DisposeAsync();
        StopPciDevice();
        Assert.False(!_isProcess && File.Exists(VhostUserSocket), "the vhost-user socket is left behind");
        await Device.DisposeAsync();
        _stop = true;
        _thread.Join();
        Port.Dispose();
        Memory.Dispose();
        _directory.Delete(recursive: true);
        Assert.Null(_failure);
        Assert.True(MayRetainMemory || Registry.RegisteredCount == 0, "memory stays registered");
    }

    private IVirtioDevice CreateDevice(bool isBlk)
    {
        var context = new DeviceContext { Name = "vhost.0", Reactors = [_reactor], GetBdev = _ => Port, Logger = Logger };
        if (isBlk)
        {
            IDeviceTypeFactory blk = new BlkFactory();
            return blk.Create(context, new BlkOptions { Bdev = Port.Name });
        }

        IDeviceTypeFactory scsi = new VhostScsiFactory();
        return scsi.Create(context, new VhostScsiOptions { Targets = { ["0"] = Port.Name }, Queues = 2, Identity = "tests" });
    }

    private void Turn()
    {
        try
        {
            while (!_stop)
            {
                if (_reactor.Turn() == 0)
                {
                    Thread.Yield();
                }
            }
        }
        catch (Exception exception)
        {
            _failure = exception;
        }
    }
}
