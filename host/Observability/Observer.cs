using System.Net;
using Microsoft.Extensions.Logging;
using Vhost.Host.Reactors;
using Vhost.Host.Wiring;

namespace Vhost.Host.Observability;

/// <summary>All that looks at a running host from outside: metrics, health, systemd.</summary>
internal sealed class Observer : IAsyncDisposable
{
    private readonly VhostHost _host;
    private readonly ILogger _logger;
    private readonly SystemdNotifier _systemd;
    private HostMeter? _meter;
    private IDisposable? _export;
    private HttpService? _health;

    private Observer(VhostHost host, ILogger logger)
    {
        _host = host;
        _logger = logger;
        _systemd = new SystemdNotifier(logger);
    }

    /// <summary>Begins to observe a host that has started.</summary>
    /// <param name="host">The host.</param>
    /// <param name="observe">What is wanted.</param>
    /// <param name="loggers">Makes loggers.</param>
    /// <exception cref="IOException">An address cannot be listened on.</exception>
    internal static async Task<Observer> StartAsync(VhostHost host, BoundObserve observe, ILoggerFactory loggers)
    {
        var observer = new Observer(host, loggers.CreateLogger("vhostd.observe"));
        try
        {
            observer.Start(observe);
        }
        catch (IOException)
        {
            await observer.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        return observer;
    }

    /// <summary>Guests may connect.</summary>
    internal void NotifyReady()
    {
        var status = _host.GetStatus();
        _systemd.NotifyReady(
            $"serving {status.Controllers.Count} controllers on {status.Reactors.Count} reactors",
            () => _host.GetStatus().Reactors.All(reactor => reactor.Health.State is not (ReactorHealthState.Stuck or ReactorHealthState.Failed)));
    }

    /// <summary>The stop begins.</summary>
    internal void NotifyStopping() => _systemd.NotifyStopping();

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_health is { } health)
        {
            await health.DisposeAsync().ConfigureAwait(false);
        }

        _export?.Dispose();
        _meter?.Dispose();
        _systemd.Dispose();
    }

    // What loads OpenTelemetry is called only if it is wanted.
    private void Start(BoundObserve observe)
    {
        if (observe.Metrics is null && observe.Otlp is null)
        {
            return;
        }

        _meter = new HostMeter(_host.GetStatus);
        _export = Export(observe, _logger);
        if (observe.Metrics is { } endPoint)
        {
            _health = new HttpService(endPoint, ["/health", "/ready"], (request, _) => Task.FromResult(Answer(request)), static _ => { }, "metrics and health", _logger);
        }
    }

    private static MetricsExport Export(BoundObserve observe, ILogger logger) => new(observe, logger);

    private HttpReply Answer(HttpListenerRequest request)
    {
        if (request.HttpMethod is not ("GET" or "HEAD"))
        {
            return HttpReply.Error(405, "only GET");
        }

        var report = HealthReport.Of(_host.GetStatus());
        var isWell = request.Url!.AbsolutePath.TrimEnd('/') == "/ready" ? report.IsReady : report.IsHealthy;
        return HttpReply.Json(isWell ? 200 : 503, report.ToJson());
    }
}
