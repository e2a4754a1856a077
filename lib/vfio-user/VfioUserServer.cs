using Vhost.Linux;

namespace Vhost.VfioUser;

/// <summary>Serves one device on a socket, to one client at a time, on a thread of its own. Further clients wait until the first has gone.</summary>
public sealed class VfioUserServer : IDisposable
{
    private readonly IVfioUserDevice _device;
    private readonly Action<string> _report;
    private readonly int _timeoutMilliseconds;
    private readonly UnixSocket _listener;
    private readonly EventFd _stop = EventFd.Create();
    private readonly Thread _thread;
    private bool _disposed;

    /// <summary>Binds the socket and begins to serve.</summary>
    /// <param name="path">Path of the socket. A socket file that nobody listens on is replaced.</param>
    /// <param name="device">The device; stays the caller's.</param>
    /// <param name="report">Receives one line for each refused request and each session's end, on the server's thread.</param>
    /// <param name="timeoutMilliseconds">How long a client may take for a message that it began, or for a reply.</param>
    /// <exception cref="LinuxException">The socket cannot be bound.</exception>
    public VfioUserServer(string path, IVfioUserDevice device, Action<string>? report = null, int timeoutMilliseconds = 10_000)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(timeoutMilliseconds);
        Path = path;
        _device = device;
        _report = report ?? (static _ => { });
        _timeoutMilliseconds = timeoutMilliseconds;
        _listener = UnixSocket.Create();
        try
        {
            RemoveStale(path);
            _listener.BindAndListen(path);
            _listener.SetNonBlocking(true);
        }
        catch
        {
            _listener.Dispose();
            _stop.Dispose();
            throw;
        }

        _thread = new Thread(Serve) { IsBackground = true, Name = "vfio-user" };
        _thread.Start();
    }

    /// <summary>Path of the socket.</summary>
    public string Path { get; }

    /// <summary>Ends the session, stops the thread and removes the socket file.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _stop.Signal();
        _thread.Join();
        _listener.Dispose();
        _stop.Dispose();
        File.Delete(Path);
    }

    private static void RemoveStale(string path)
    {
        if (!File.Exists(path) || FileStatus.Of(path).Kind != FileKind.Socket)
        {
            return;
        }

        using UnixSocket probe = UnixSocket.Create();
        try
        {
            probe.Connect(path, 100);
        }
        catch (LinuxException e) when (e.Error == Errno.ECONNREFUSED)
        {
            File.Delete(path);
        }
        catch (LinuxException e) when (e.Error == Errno.EAGAIN)
        {
            // Somebody listens and is busy: binding will say that the address is in use.
        }
    }

    private void Serve()
    {
        while (true)
        {
            try
            {
                if (_listener.WaitReadable(-1, _stop.Raw) == WaitResult.Woken)
                {
                    return;
                }

                using UnixSocket? socket = _listener.Accept();
                if (socket is not null)
                {
                    Serve(socket);
                }
            }
            catch (Exception e)
            {
                // Out of descriptors or memory for one client: say so, take a breath, serve the next.
                _report($"a client could not be served: {e.Message}");
                if (Poll.WaitReadable(_stop.Raw, 100))
                {
                    return;
                }
            }
        }
    }

    private void Serve(UnixSocket socket)
    {
        var limits = new VfioUserLimits((int)VfioUserSession.MaxDataTransferBytes + 64, VfioUserSession.MaxMessageFds, _timeoutMilliseconds);
        using var channel = new VfioUserChannel(socket, _stop, limits);
        var session = new VfioUserSession(_device, channel, _report);
        _report($"a session ended: {session.Run()}");
    }
}
