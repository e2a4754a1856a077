using Microsoft.Extensions.Logging;
using Polly;
using Polly.Retry;
using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>
/// Serves one socket on one thread: accepts a front-end, feeds its messages to a session, and accepts the next when it has gone. The thread sleeps
/// in epoll while nothing is said. All members but <see cref="Status"/> and <see cref="RequestStop"/> belong to that thread.
/// </summary>
internal sealed class FrontEndServer : IDisposable
{
    private const ulong StopToken = 0;
    private const ulong ListenToken = 1;
    private const ulong ConnectionToken = 2;
    private const ulong FaultToken = 3;
    private const int ReplyTimeoutMilliseconds = 2000;
    private const int AcceptPauseMilliseconds = 1000;
    private const string Listening = "listening";

    private readonly TransportContext _context;
    private readonly IVirtioDevice _device;
    private readonly ListeningSocket _listener;
    private readonly EventFd _stop = EventFd.Create();
    private readonly EventFd _memoryFaulted = EventFd.Create();
    private readonly CancellationTokenSource _stopping = new();
    private readonly CancellationTokenSource _cut = new();
    private readonly Epoll _epoll = Epoll.Create();
    private readonly ResiliencePipeline _accept;
    private readonly VhostUserSessionOptions _sessionOptions;
    private MessageSocket? _connection;
    private SocketLink? _link;
    private VhostUserSession? _session;
    private string _peer = "";
    private bool _acceptPaused;
    private volatile string _status = Listening;

    internal FrontEndServer(TransportContext context, IVirtioDevice device, ListeningSocket listener)
    {
        _context = context;
        _device = device;
        _listener = listener;
        _sessionOptions = new VhostUserSessionOptions
        {
            Name = context.Name, Memory = context.Memory, Logger = context.Logger, DrainTimeout = context.DrainTimeout,
        };
        _accept = new ResiliencePipelineBuilder()
            .AddRetry(new RetryStrategyOptions
            {
                // A burst of connections elsewhere in the process passes; what lasts longer is reported, and tried again later.
                ShouldHandle = new PredicateBuilder().Handle<LinuxException>(
                    exception => exception.Error is Errno.EMFILE or 23 or Errno.ENOBUFS or Errno.ENOMEM), // 23: ENFILE
                MaxRetryAttempts = 3,
                Delay = TimeSpan.FromMilliseconds(20),
                BackoffType = DelayBackoffType.Exponential,
            })
            .Build();
    }

    /// <summary>What is known of the front-end, for people. Any thread.</summary>
    internal string Status => _status;

    /// <summary>Asks the thread to end. Any thread.</summary>
    /// <param name="drainTimeout">How long requests under way may take.</param>
    internal void RequestStop(TimeSpan drainTimeout)
    {
        _cut.CancelAfter(drainTimeout);
        _stopping.Cancel();
        _stop.Signal();
    }

    /// <summary>Gives requests under way up now. Any thread.</summary>
    internal void CutShort() => _cut.Cancel();

    /// <summary>The thread.</summary>
    internal void Run()
    {
        try
        {
            _epoll.Add(_stop.Raw, EpollEvents.In, StopToken);
            _epoll.Add(_listener.Socket.Raw, EpollEvents.In, ListenToken);
            _epoll.Add(_memoryFaulted.Raw, EpollEvents.In, FaultToken);
            Span<EpollEvent> events = stackalloc EpollEvent[4];
            while (!_stopping.IsCancellationRequested)
            {
                var count = _epoll.Wait(events, _acceptPaused ? AcceptPauseMilliseconds : -1);
                if (!_stopping.IsCancellationRequested)
                {
                    Turn(events[..count]);
                }
            }
        }
        finally
        {
            _listener.Dispose();
            EndSession();
            _status = "stopped";
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _listener.Dispose();
        _epoll.Dispose();
        _stop.Dispose();
        _memoryFaulted.Dispose();
        _stopping.Dispose();
        _cut.Dispose();
    }

    private void Turn(ReadOnlySpan<EpollEvent> events)
    {
        var canAccept = false;
        var canRead = false;
        var hasFault = false;
        foreach (var e in events)
        {
            canAccept |= e.Token == ListenToken;
            canRead |= e.Token == ConnectionToken;
            hasFault |= e.Token == FaultToken;
        }

        if (hasFault)
        {
            OnMemoryFault();
        }

        // First the connection: if its front-end has gone, the next one that waits is welcome.
        if (canRead && _session is not null)
        {
            Serve();
        }

        if (_acceptPaused && !canAccept)
        {
            _epoll.Add(_listener.Socket.Raw, EpollEvents.In, ListenToken);
            _acceptPaused = false;
        }

        if (canAccept && !_stopping.IsCancellationRequested)
        {
            Accept();
        }
    }

    private void Accept()
    {
        UnixSocket? socket;
        try
        {
            socket = _accept.Execute(_ => _listener.Socket.Accept(), _stopping.Token);
        }
        catch (OperationCanceledException)
        {
            return;
        }
        catch (LinuxException exception)
        {
            _context.Logger.LogError(
                VhostUserTransportEvents.FrontEndNotAccepted, "{Name}: a front-end could not be accepted: {Reason}. Raise the limit of open files (ulimit -n, LimitNOFILE=); trying again",
                _context.Name, exception.Message);
            _epoll.Remove(_listener.Socket.Raw);
            _acceptPaused = true;
            return;
        }

        if (socket is null)
        {
            return;
        }

        var peer = Describe(socket);
        if (_session is not null && IsAlive(_connection!.Socket))
        {
            // Logged first: whoever sees the link close finds the reason.
            _context.Logger.LogWarning(
                VhostUserTransportEvents.FrontEndTurnedAway, "{Name}: a second front-end ({Second}) was turned away, {First} is connected; a controller serves one VM at a time",
                _context.Name, peer, _peer);
            socket.Dispose();
            return;
        }

        EndSession();
        Begin(socket, peer);
    }

    private void Begin(UnixSocket socket, string peer)
    {
        try
        {
            socket.SetSendTimeout(ReplyTimeoutMilliseconds);
            _connection = new MessageSocket(socket);
            _link = new SocketLink(_connection, _memoryFaulted);
            _session = new VhostUserSession(_device, _link, _sessionOptions);
            _peer = peer;
            _epoll.Add(socket.Raw, EpollEvents.In | EpollEvents.PeerClosed, ConnectionToken);
            _status = $"connected ({peer})";
            _context.Logger.LogInformation(VhostUserTransportEvents.FrontEndConnected, "{Name}: front-end connected ({Peer})", _context.Name, peer);
        }
        catch (Exception exception)
        {
            _context.Logger.LogError(VhostUserTransportEvents.SessionNotOpened, exception, "{Name}: no session could be opened for {Peer}", _context.Name, peer);
            EndSession();
            socket.Dispose();
        }
    }

    private void OnMemoryFault()
    {
        _memoryFaulted.Drain();
        if (_session is null || _link?.DescribeLostMemory() is not { } lost)
        {
            // It belonged to a former session whose requests never came back; nothing of that is reported to anybody.
            return;
        }

        _context.Logger.LogError(
            VhostUserTransportEvents.SessionMemoryLost, "{Name}: the session with {Peer} ends: {Memory}, went away while it was in use. Its file was shrunk, or there is no memory left for it "
            + "(a full tmpfs, no free huge pages). What the guest had under way was not completed; other guests are not concerned",
            _context.Name, _peer, lost);
        EndSession();
    }

    private void Serve()
    {
        try
        {
            while (!_stopping.IsCancellationRequested)
            {
                switch (_connection!.TryRead(out var message))
                {
                    case MessageReadState.Message:
                        // The session is asynchronous because reactors answer it; this thread has nothing else to do meanwhile.
                        _session!.HandleAsync(message!, _cut.Token).AsTask().GetAwaiter().GetResult();
                        break;
                    case MessageReadState.Closed:
                        _context.Logger.LogInformation(VhostUserTransportEvents.FrontEndDisconnected, "{Name}: front-end disconnected ({Peer})", _context.Name, _peer);
                        EndSession();
                        return;
                    default:
                        return;
                }
            }
        }
        catch (VhostUserException exception)
        {
            _context.Logger.LogError(VhostUserTransportEvents.SessionEnded, "{Name}: the session with {Peer} ends: {Reason}", _context.Name, _peer, exception.Message);
            EndSession();
        }
        catch (LinuxException exception)
        {
            _context.Logger.LogWarning(VhostUserTransportEvents.ConnectionBroke, "{Name}: the connection to {Peer} broke: {Reason}", _context.Name, _peer, exception.Message);
            EndSession();
        }
        catch (Exception exception)
        {
            _context.Logger.LogError(VhostUserTransportEvents.SessionFailed, exception, "{Name}: the session with {Peer} ends by a fault of this program or a plugin", _context.Name, _peer);
            EndSession();
        }
    }

    private void EndSession()
    {
        var session = _session;
        var connection = _connection;
        _session = null;
        _link = null;
        _connection = null;
        if (session is not null)
        {
            _status = "disconnecting";
            session.EndAsync(_cut.Token).AsTask().GetAwaiter().GetResult();
        }

        // Last: the front-end sees the end when its memory is no longer used. Closing takes the socket out of epoll.
        connection?.Dispose();
        _status = Listening;
    }

    private static bool IsAlive(UnixSocket socket)
    {
        Span<EpollEvent> events = stackalloc EpollEvent[1];
        using var probe = Epoll.Create();
        probe.Add(socket.Raw, EpollEvents.PeerClosed, 0);
        return probe.Wait(events, 0) == 0;
    }

    private static string Describe(UnixSocket socket)
    {
        try
        {
            var credentials = socket.GetPeerCredentials();
            return $"pid {credentials.ProcessId}, uid {credentials.UserId}";
        }
        catch (LinuxException)
        {
            return "unknown peer";
        }
    }
}
