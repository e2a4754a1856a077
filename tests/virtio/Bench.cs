using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.Virtio.Tests;

/// <summary>A session of an echo device on a hand-turned reactor, with a guest and one queue.</summary>
internal sealed class Bench : IDisposable
{
    public const ulong RamBase = 0x10_0000;

    public Bench(VirtqueueFormat format = VirtqueueFormat.Split, int size = 16, ulong features = 0, int tableEntries = 0, ulong ramBytes = 4 << 20)
    {
        Features = VirtioFeatures.Version1 | features | (format == VirtqueueFormat.Packed ? VirtioFeatures.RingPacked : 0);
        // A second region follows the first one without a gap, in another place of this process; a third lies apart.
        Ram = new GuestRam((RamBase, ramBytes), (RamBase + ramBytes, 0x10_0000), (0x1_0000_0000, 0x1_0000));
        Queue = new GuestQueue(Ram, format, size, Features, tableEntries);
        Session = OpenSession();
        Reactor.Run(SetMemory());
    }

    public ulong Features { get; }

    public ManualReactor Reactor { get; private set; } = new();

    public RecordingFrontEnd FrontEnd { get; } = new();

    public GuestRam Ram { get; }

    public GuestQueue Queue { get; }

    public VirtioSession Session { get; private set; }

    public EchoHandler Handler { get; private set; } = new();

    public CallCoalescing Coalescing { get; } = new();

    /// <summary>Whether queues fail to start.</summary>
    public bool RefusesHandlers { get; set; }

    public DriverVirtqueue Driver => Queue.Driver;

    /// <summary>The process dies and a new one begins: what it had under way is never completed.</summary>
    public void Crash()
    {
        Reactor = new ManualReactor();
        Session = OpenSession();
        Reactor.Run(SetMemory());
    }

    private VirtioSession OpenSession()
    {
        var session = new VirtioSession(new VirtioSessionOptions
        {
            Name = "echo",
            Reactors = [Reactor],
            FrontEnd = FrontEnd,
            Logger = NullLogger.Instance,
            OfferedFeatures = VirtioFeatures.DeviceRings,
            MaxQueueCount = 4,
            MaxQueueSize = 32768,
            Coalescing = Coalescing,
            CreateHandler = _ =>
            {
                if (RefusesHandlers)
                {
                    throw new InvalidOperationException("no handler today");
                }

                Handler = new EchoHandler
                {
                    Records = Handler.Records, KeepsRequests = Handler.KeepsRequests, AnswersInvalid = Handler.AnswersInvalid, OnAttach = Handler.OnAttach,
                };
                return Handler;
            },
        });
        session.SetFeatures(Features);
        return session;
    }

    public Bench Start(VirtqueueState? state = null, SharedArea inFlight = default, SharedArea log = default)
    {
        var setup = Queue.Setup(state) with { InFlight = inFlight, DirtyLog = log };
        setup = setup with { Addresses = setup.Addresses with { UsedLogGuestAddress = log.IsNone ? 0 : Queue.UsedGuestAddress } };
        Reactor.Run(Session.StartQueueAsync(setup, TestContext.Current.CancellationToken));
        return this;
    }

    public VirtqueueStop Stop(TimeSpan? limit = null)
    {
        using var token = new CancellationTokenSource(limit ?? TimeSpan.FromSeconds(120));
        return Reactor.Run(Session.StopQueueAsync(0, token.Token));
    }

    /// <summary>Waits for the report that the queue is broken, and gives its reason.</summary>
    public string BrokenReason()
    {
        Reactor.TurnUntil(() => !FrontEnd.BrokenQueues.IsEmpty);
        return FrontEnd.BrokenQueues.TryPeek(out var broken) ? broken.Reason : "";
    }

    /// <summary>Sends one request and waits for its result.</summary>
    public uint Echo(byte[] data, ulong writableBytes, out byte[] answer)
    {
        var source = Ram.Allocate((ulong)data.Length, 1);
        var target = Ram.Allocate(writableBytes, 1);
        data.CopyTo(Ram.Span(source, data.Length));
        Assert.True(Driver.TryAdd([new DriverSegment(source, (uint)data.Length)], [new DriverSegment(target, (uint)writableBytes)], 7));
        Driver.Publish();
        ulong token = 0;
        uint written = 0;
        Reactor.TurnUntil(() => Driver.TryGetUsed(out token, out written));
        Assert.Equal(7UL, token);
        answer = Ram.Span(target, (int)writableBytes).ToArray();
        return written;
    }

    public void Dispose()
    {
        Reactor.Run(Session.DisposeAsync());
        Ram.Dispose();
    }

    private async ValueTask<int> SetMemory() =>
        await Session.SetMemoryAsync(Ram.Map, new Dictionary<int, VirtqueueAddresses>(), TestContext.Current.CancellationToken);
}
