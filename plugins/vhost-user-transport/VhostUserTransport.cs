using Microsoft.Extensions.Logging;
using Vhost.Abstractions;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>A vhost-user server on a unix socket, for one device. Front-ends come and go, one at a time.</summary>
/// <param name="context">What the host gives the transport.</param>
/// <param name="options">Valid options.</param>
internal sealed class VhostUserTransport(TransportContext context, VhostUserTransportOptions options) : ITransport
{
    private const int ThreadStackBytes = 512 * 1024;
    private static readonly TimeSpan StopMargin = TimeSpan.FromSeconds(1);

    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private ListeningSocket? _listener;
    private FrontEndServer? _server;
    private bool _stopped;

    /// <inheritdoc/>
    public string Endpoint { get; } = Path.GetFullPath(options.Socket);

    /// <inheritdoc/>
    public string Status => _server?.Status ?? "stopped";

    /// <inheritdoc/>
    public ValueTask StartAsync(IVirtioDevice device, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(device);
        ObjectDisposedException.ThrowIf(_stopped, this);
        if (_server is not null)
        {
            throw new InvalidOperationException($"the transport '{context.Name}' is started already");
        }

        cancellationToken.ThrowIfCancellationRequested();
        _listener = ListeningSocket.Open(options.Socket, VhostUserTransportFactory.ParseMode(options.Mode)!.Value, options.Owner, options.Group);
        var server = new FrontEndServer(context, device, _listener);
        _server = server;
        var thread = new Thread(() => Serve(server), ThreadStackBytes) { IsBackground = true, Name = $"vhost-user {context.Name}" };
        thread.Start();
        context.Logger.LogInformation(VhostUserTransportEvents.Listening, "{Name}: listening on {Socket}", context.Name, Endpoint);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public async ValueTask StopAsync(CancellationToken cancellationToken)
    {
        var server = _server;
        if (_stopped || server is null)
        {
            _stopped = true;
            return;
        }

        _stopped = true;
        server.RequestStop(context.DrainTimeout);
        await using (cancellationToken.Register(server.CutShort).ConfigureAwait(false))
        {
            try
            {
                await _ended.Task.WaitAsync(context.DrainTimeout + StopMargin, CancellationToken.None).ConfigureAwait(false);
                server.Dispose();
            }
            catch (TimeoutException)
            {
                // The thread waits for a device that does not answer. The socket goes all the same; what the thread holds stays until the process ends.
                _listener!.Dispose();
                context.Logger.LogError(VhostUserTransportEvents.SessionLeftBehind, "{Name}: the session did not end in time and is left behind; its device does not answer", context.Name);
            }
        }
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => StopAsync(CancellationToken.None);

    private void Serve(FrontEndServer server)
    {
        try
        {
            server.Run();
        }
        catch (Exception exception)
        {
            context.Logger.LogCritical(VhostUserTransportEvents.TransportFailed, exception, "{Name}: the transport has failed and serves no front-end until it is restarted", context.Name);
        }
        finally
        {
            _ended.SetResult();
        }
    }
}
