using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.Logging;
using StreamJsonRpc;
using Vhost.Host.Observability;
using Vhost.Linux;

namespace Vhost.Host.Rpc;

/// <summary>Serves the methods on a unix socket that only its owner may use. Nothing here runs on a reactor.</summary>
/// <param name="path">The socket's path.</param>
/// <param name="surface">The methods.</param>
/// <param name="limits">What clients may take.</param>
/// <param name="logger">The log.</param>
internal sealed class RpcServer(string path, RpcSurface surface, RpcLimits limits, ILogger logger) : IAsyncDisposable
{
    private const string AnotherPath = "choose another path with --rpc-socket or -r";

    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private static readonly TimeSpan StopLimit = TimeSpan.FromMilliseconds(300);

    private readonly Lock _lock = new();
    private readonly Dictionary<Socket, (RpcMessageHandler Handler, Task Served)> _clients = [];
    private readonly CancellationTokenSource _stopping = new();
    private FileStream? _lockFile;
    private Socket? _listener;
    private Task _accepting = Task.CompletedTask;
    private long _refusedCount;

    /// <summary>How many clients are connected.</summary>
    internal int ClientCount
    {
        get
        {
            lock (_lock)
            {
                return _clients.Count;
            }
        }
    }

    /// <summary>Begins to listen.</summary>
    /// <exception cref="IOException">Another process serves this path, or it cannot be used; the message says what to do.</exception>
    internal void Start()
    {
        CheckPath();
        try
        {
            // Held as long as the process serves the path, so a socket that lies there without the lock is a dead one's.
            _lockFile = new FileStream($"{path}.lock", new FileStreamOptions
            {
                Mode = FileMode.OpenOrCreate,
                Access = FileAccess.ReadWrite,
                Share = FileShare.None,
                UnixCreateMode = OwnerOnly,
            });
        }
        catch (IOException exception)
        {
            throw new IOException($"the RPC socket {path} cannot be locked: {(exception.HResult == Errno.EAGAIN ? "another process serves it" : exception.Message.TrimEnd('.'))}; {AnotherPath}", exception);
        }
        catch (UnauthorizedAccessException exception)
        {
            throw new IOException($"the RPC socket {path} cannot be locked: {path}.lock may not be written by this user; {AnotherPath}", exception);
        }

        try
        {
            RemoveStaleSocket();
            var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            listener.Bind(new UnixDomainSocketEndPoint(path));
            _listener = listener;
            // Before listen, when nobody can connect yet.
            File.SetUnixFileMode(path, OwnerOnly);
            _listener.Listen(limits.Connections);
        }
        catch (Exception exception)
        {
            Release();
            throw new IOException($"the RPC socket {path} cannot be opened: {exception.Message}", exception);
        }

        _accepting = AcceptAsync(_listener);
        logger.LogInformation(HostEvents.RpcServed, "serving JSON-RPC on {Path}", path);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_listener is null)
        {
            return;
        }

        await _stopping.CancelAsync().ConfigureAwait(false);
        await _accepting.ConfigureAwait(false);
        KeyValuePair<Socket, (RpcMessageHandler Handler, Task Served)>[] clients;
        lock (_lock)
        {
            clients = [.. _clients];
        }

        // Replies under way, such as that to the wish to stop, are sent; a call that takes longer ends by itself, within the bounds of what it does.
        await Task.WhenAny(Task.WhenAll(clients.Select(client => client.Value.Handler.WhenAnsweredAsync())), Task.Delay(StopLimit)).ConfigureAwait(false);
        foreach (var (socket, _) in clients)
        {
            socket.Dispose();
        }

        await Task.WhenAny(Task.WhenAll(clients.Select(client => client.Value.Served)), Task.Delay(StopLimit)).ConfigureAwait(false);
        Release();
        _listener = null;
    }

    /// <summary>What is wrong with the path alone is said before anything is made there.</summary>
    private void CheckPath()
    {
        string full = Path.GetFullPath(path);
        string? fault = Encoding.UTF8.GetByteCount(path) > UnixSocket.MaxPathBytes ? $"the path is longer than the {UnixSocket.MaxPathBytes} bytes that a socket's may have"
            : Directory.Exists(full) ? $"it is a directory; name the socket too, such as {Path.Combine(path, "spdk.sock")}"
            : !Directory.Exists(Path.GetDirectoryName(full)) ? $"there is no directory {Path.GetDirectoryName(full)}; make it"
            : null;
        if (fault is not null)
        {
            throw new IOException($"the RPC socket {path} cannot be opened: {fault}, or {AnotherPath}");
        }
    }

    private void RemoveStaleSocket()
    {
        if (!File.Exists(path))
        {
            return;
        }

        if (FileStatus.Of(path).Kind != FileKind.Socket)
        {
            throw new IOException("there is something else of that name");
        }

        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException exception) when (exception.SocketErrorCode == SocketError.ConnectionRefused)
        {
            // Nobody listens: a killed process left it behind.
            File.Delete(path);
            return;
        }

        throw new IOException("another process listens there");
    }

    private void Release()
    {
        if (_listener is { } listener)
        {
            listener.Dispose();
            File.Delete(path);
        }

        if (_lockFile is { } lockFile)
        {
            File.Delete(lockFile.Name);
            lockFile.Dispose();
        }
    }

    private async Task AcceptAsync(Socket listener)
    {
        while (!_stopping.IsCancellationRequested)
        {
            Socket client;
            try
            {
                client = await listener.AcceptAsync(_stopping.Token).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
            catch (SocketException exception)
            {
                // Out of descriptors, most likely: the data path needs them more than a new client does.
                logger.LogWarning(HostEvents.RpcClientNotAccepted, "a client of the RPC socket cannot be accepted: {Reason}", exception.Message);
                await Task.Delay(TimeSpan.FromMilliseconds(100)).ConfigureAwait(false);
                continue;
            }

            Admit(client);
        }
    }

    private void Admit(Socket client)
    {
        lock (_lock)
        {
            if (_clients.Count >= limits.Connections && !TryMakeRoom())
            {
                client.Dispose();
                if (_refusedCount++ % 1000 == 0)
                {
                    logger.LogWarning(HostEvents.RpcClientRefused, "{Count} clients use the RPC socket; another one was refused ({Refused} so far)", _clients.Count, _refusedCount);
                }

                return;
            }

            var handler = new RpcMessageHandler(client, limits, name => surface.Find(name) is not null);
            _clients.Add(client, (handler, Task.Run(() => ServeAsync(client, handler))));
        }
    }

    /// <summary>Lets go of the client that has been idle longest, if that is long.</summary>
    private bool TryMakeRoom()
    {
        var (socket, (handler, _)) = _clients.MaxBy(client => client.Value.Handler.IdleTime);
        if (handler.IdleTime < limits.Idle)
        {
            return false;
        }

        _clients.Remove(socket);
        socket.Dispose();
        return true;
    }

    private async Task ServeAsync(Socket client, RpcMessageHandler handler)
    {
        try
        {
            using var rpc = new JsonRpc(handler);
            foreach (var name in surface.Names)
            {
                rpc.AddLocalRpcMethod(RpcTarget.Entry, new RpcTarget(surface.Find(name)!, handler, logger), new JsonRpcMethodAttribute(name) { UseSingleObjectParameterDeserialization = true });
            }

            rpc.StartListening();
            await rpc.Completion.ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            // A client's end is no event; what its calls did is logged where they failed.
            logger.LogDebug(HostEvents.RpcClientLost, exception, "a client of the RPC socket was lost");
        }
        finally
        {
            lock (_lock)
            {
                _clients.Remove(client);
            }

            client.Dispose();
        }
    }
}
