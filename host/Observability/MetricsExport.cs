using System.Diagnostics.Tracing;
using Microsoft.Extensions.Logging;
using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using Vhost.Host.Cli;

namespace Vhost.Host.Observability;

/// <summary>Gives metrics to who wants them, by OpenTelemetry. Its assemblies are loaded only if somebody does.</summary>
internal sealed class MetricsExport : IDisposable
{
    // Where a collector takes metrics over HTTP, unless it is told another path.
    private const string HttpPath = "/v1/metrics";

    private readonly MeterProvider _provider;
    private readonly FaultListener _faults;

    /// <summary>Begins to listen and to send.</summary>
    /// <param name="observe">What is wanted.</param>
    /// <param name="logger">The log.</param>
    /// <exception cref="IOException">The address cannot be listened on.</exception>
    internal MetricsExport(BoundObserve observe, ILogger logger)
    {
        _faults = new FaultListener(logger);
        var builder = Sdk.CreateMeterProviderBuilder()
            .ConfigureResource(resource => resource.AddService("vhostd", serviceVersion: VersionCommand.Version, serviceInstanceId: $"{Environment.MachineName}:{Environment.ProcessId}"))
            .AddMeter(HostMeter.Name)
            .AddMeter("System.Runtime");
        if (observe.Otlp is { } collector)
        {
            builder.AddOtlpExporter((exporter, reader) =>
            {
                exporter.Endpoint = observe.UsesHttp && collector.AbsolutePath == "/" ? new Uri(collector, HttpPath) : collector;
                exporter.Protocol = observe.UsesHttp ? OtlpExportProtocol.HttpProtobuf : OtlpExportProtocol.Grpc;
                reader.PeriodicExportingMetricReaderOptions.ExportIntervalMilliseconds = (int)observe.Interval.TotalMilliseconds;
            });
        }

        if (observe.Metrics is { } endPoint)
        {
            builder.AddPrometheusHttpListener(listener =>
            {
                listener.Host = endPoint.Address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6 ? $"[{endPoint.Address}]" : endPoint.Address.ToString();
                listener.Port = endPoint.Port;
                listener.ScrapeEndpointPath = "/metrics";
            });
        }

        try
        {
            _provider = builder.Build();
        }
        catch (Exception exception) when (exception is System.Net.HttpListenerException or System.Net.Sockets.SocketException)
        {
            _faults.Dispose();
            throw new IOException($"metrics cannot be served at {observe.Metrics}: {exception.Message}; choose another port (observe.metrics)", exception);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // Disposing would send once more, and wait for a collector that does not answer.
        _provider.Shutdown(200);
        _provider.Dispose();
        _faults.Dispose();
    }

    /// <summary>OpenTelemetry tells of its failures by events alone: a collector that is not there would go unnoticed.</summary>
    private sealed class FaultListener(ILogger logger) : EventListener
    {
        private static readonly TimeSpan Pause = TimeSpan.FromMinutes(5);

        private long _lastAt;
        private int _suppressed;

        protected override void OnEventSourceCreated(EventSource eventSource)
        {
            if (eventSource.Name.StartsWith("OpenTelemetry-Exporter", StringComparison.Ordinal))
            {
                EnableEvents(eventSource, EventLevel.Warning);
            }
        }

        protected override void OnEventWritten(EventWrittenEventArgs eventData)
        {
            var now = Environment.TickCount64;
            var last = Volatile.Read(ref _lastAt);
            if ((last != 0 && now - last < Pause.TotalMilliseconds) || Interlocked.CompareExchange(ref _lastAt, now, last) != last)
            {
                Interlocked.Increment(ref _suppressed);
                return;
            }

            logger.LogWarning(
                HostEvents.MetricsNotSent,
                "metrics were not sent: {Failure} ({Suppressed} more since the last message). guests are served as before; is there a collector at observe.otlp, and does it speak observe.otlpProtocol?",
                string.Join("; ", eventData.Payload?.Select(part => part?.ToString()?.Split('\n')[0]) ?? [eventData.EventName]),
                Interlocked.Exchange(ref _suppressed, 0));
        }
    }
}
