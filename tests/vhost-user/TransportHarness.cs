using Vhost.Abstractions;
using Vhost.Plugins.VhostUserTransport;
using Vhost.Testing.FrontEnd;

namespace Vhost.VhostUser.Tests;

/// <summary>A transport on a socket in a directory of its own, in front of a fake device.</summary>
internal sealed class TransportHarness : IAsyncDisposable
{
    public const int QueueSize = 8;
    private static readonly TimeSpan WaitLimit = TimeSpan.FromSeconds(120);

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("vu");

    public TransportHarness(TimeSpan? drainTimeout = null)
    {
        Socket = Path.Combine(_directory.FullName, "s");
        Context = new TransportContext
        {
            Name = "guest", Memory = Registry, Logger = Logger, DrainTimeout = drainTimeout ?? TimeSpan.FromSeconds(3),
        };
        Transport = Create();
    }

    public string Socket { get; }

    public string DirectoryPath => _directory.FullName;

    public TransportContext Context { get; }

    public FakeDevice Device { get; } = new();

    public RecordingLogger Logger { get; } = new();

    public RecordingRegistry Registry { get; } = new();

    public ITransport Transport { get; }

    public static async Task<TransportHarness> StartAsync(TimeSpan? drainTimeout = null)
    {
        var harness = new TransportHarness(drainTimeout);
        await harness.Transport.StartAsync(harness.Device, CancellationToken.None);
        return harness;
    }

    public ITransport Create(Action<VhostUserTransportOptions>? change = null)
    {
        var options = new VhostUserTransportOptions { Socket = Socket };
        change?.Invoke(options);
        return new VhostUserTransportFactory().Create(Context, options);
    }

    public FrontEndConnection Connect() => FrontEndConnection.Connect(Socket);

    /// <summary>A connection that has negotiated and announced memory.</summary>
    public (FrontEndConnection Connection, GuestMemory Memory) ConnectWithMemory(
        ProtocolFeatures wanted = (ProtocolFeatures)ulong.MaxValue, bool isPacked = false)
    {
        var connection = Connect();
        Negotiate(connection, wanted, isPacked);
        var memory = new GuestMemory(0, 1 << 20, 1 << 20);
        memory.Announce(connection);
        return (connection, memory);
    }

    public static void Negotiate(FrontEndConnection connection, ProtocolFeatures wanted = (ProtocolFeatures)ulong.MaxValue, bool isPacked = false)
    {
        var offered = connection.AskNumber(FrontEndRequest.GetFeatures);
        connection.NegotiateProtocol(wanted);
        connection.Tell(FrontEndRequest.SetOwner, []);
        connection.TellNumber(
            FrontEndRequest.SetFeatures,
            offered & (VhostUserFeatures.Version1 | VhostUserFeatures.ProtocolFeatures | (isPacked ? VhostUserFeatures.RingPacked : 0)));
    }

    public static async Task WaitForAsync(Func<bool> condition, string what)
    {
        var deadline = DateTime.UtcNow + WaitLimit;
        while (!condition())
        {
            Assert.True(DateTime.UtcNow < deadline, $"waited in vain for: {what}");
            await Task.Delay(5, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>
    /// Descriptors of this process of the kinds that front-ends hand over, each by its number and what it refers to; the runtime opens files of its own at any time. What
    /// is there later and was not before has been left open; fewer are no fault, since an earlier test's last ones may be closed late on a loaded machine.
    /// </summary>
    public static HashSet<string> Descriptors() =>
        [.. Directory.GetFileSystemEntries("/proc/self/fd").Select(path => $"{path} {new FileInfo(path).LinkTarget}").Where(IsHandedOver)];

    public async ValueTask DisposeAsync()
    {
        await Transport.DisposeAsync();
        Assert.False(File.Exists(Socket), "the socket is left behind");
        Assert.False(File.Exists(Socket + ".lock"), "the lock file is left behind");
        _directory.Delete(recursive: true);
    }

    private static bool IsHandedOver(string descriptor)
    {
        var target = descriptor[(descriptor.IndexOf(' ', StringComparison.Ordinal) + 1)..];
        return target.StartsWith("socket:", StringComparison.Ordinal) || target.StartsWith("anon_inode:", StringComparison.Ordinal)
            || target.StartsWith("/memfd:", StringComparison.Ordinal);
    }
}
