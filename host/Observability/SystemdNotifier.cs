using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.Logging;

namespace Vhost.Host.Observability;

/// <summary>
/// Tells systemd how the service is, by the protocol of sd_notify(3): ready, status, stopping, and, where the unit has <c>WatchdogSec=</c>, that it is alive.
/// A reactor that does not turn is not alive: then systemd is not told, and ends and restarts the service. Without systemd all of this does nothing.
/// </summary>
internal sealed class SystemdNotifier : IDisposable
{
    private readonly string? _path;
    private readonly ILogger _logger;
    private readonly TimeSpan? _watchdog;
    private readonly CancellationTokenSource _stop = new();
    private Task _beating = Task.CompletedTask;
    private bool _isFailureTold;

    /// <summary>Reads where systemd listens.</summary>
    /// <param name="logger">The log.</param>
    internal SystemdNotifier(ILogger logger)
    {
        _logger = logger;
        _path = Environment.GetEnvironmentVariable("NOTIFY_SOCKET");
        // Both are for this process alone: a child that inherits the environment is none of systemd's business.
        if (long.TryParse(Environment.GetEnvironmentVariable("WATCHDOG_USEC"), NumberStyles.None, CultureInfo.InvariantCulture, out var microseconds) && microseconds > 0
            && (Environment.GetEnvironmentVariable("WATCHDOG_PID") is not { } pid || pid == Environment.ProcessId.ToString(CultureInfo.InvariantCulture)))
        {
            _watchdog = TimeSpan.FromMicroseconds(microseconds);
        }
    }

    /// <summary>The service serves.</summary>
    /// <param name="status">For people: <c>systemctl status</c> shows it.</param>
    /// <param name="isAlive">Whether it is alive; asked at twice the watchdog's rate.</param>
    internal void NotifyReady(string status, Func<bool> isAlive)
    {
        Send($"READY=1\nSTATUS={status}");
        if (_watchdog is { } limit && _path is not null)
        {
            _beating = BeatAsync(limit / 2, isAlive);
        }
    }

    /// <summary>The service stops. Its watchdog goes on meanwhile: the stop is bounded otherwise.</summary>
    internal void NotifyStopping() => Send("STOPPING=1\nSTATUS=stopping");

    /// <inheritdoc/>
    public void Dispose()
    {
        _stop.Cancel();
        _beating.Wait(TimeSpan.FromSeconds(1));
        _stop.Dispose();
    }

    private async Task BeatAsync(TimeSpan interval, Func<bool> isAlive)
    {
        using var timer = new PeriodicTimer(interval);
        var wasAlive = true;
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token).ConfigureAwait(false))
            {
                var alive = isAlive();
                if (alive)
                {
                    Send("WATCHDOG=1");
                }
                else if (wasAlive)
                {
                    _logger.LogCritical(HostEvents.WatchdogWithheld, "a reactor does not turn: systemd's watchdog is not fed any more, and will end vhostd if this lasts");
                }

                wasAlive = alive;
            }
        }
        catch (OperationCanceledException)
        {
            // Disposed.
        }
    }

    private void Send(string state)
    {
        if (string.IsNullOrEmpty(_path))
        {
            return;
        }

        try
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { SendTimeout = 1000 };
            // A name that begins with @ is of the abstract namespace.
            socket.SendTo(Encoding.UTF8.GetBytes(state), new UnixDomainSocketEndPoint(_path[0] == '@' ? $"\0{_path[1..]}" : _path));
        }
        catch (Exception exception) when (exception is SocketException or ArgumentException)
        {
            if (!_isFailureTold)
            {
                _isFailureTold = true;
                _logger.LogWarning(HostEvents.SystemdNotReached, "systemd cannot be told of the service's state at {Path}: {Reason}", _path, exception.Message);
            }
        }
    }
}
