using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Net;

namespace Vhost.Host.Observability;

/// <summary>The manifest's <c>observe</c>. All of it is off until it is named.</summary>
internal sealed class ObserveOptions
{
    /// <summary>Where metrics can be scraped.</summary>
    [Description("ADDRESS:PORT of this machine (127.0.0.1:9464) where Prometheus scrapes /metrics, and where /health and /ready tell how vhostd is. Without it nothing listens.")]
    public string? Metrics { get; set; }

    /// <summary>Where metrics are sent.</summary>
    [Description("URL of an OpenTelemetry collector that metrics are sent to: http://127.0.0.1:4317.")]
    public string? Otlp { get; set; }

    /// <summary>How they are sent.</summary>
    [Description("What the collector speaks: grpc (port 4317 as a rule) or http (port 4318, path /v1/metrics).")]
    public OtlpProtocol OtlpProtocol { get; set; }

    /// <summary>How often they are sent.</summary>
    [Range(1, 3600)]
    [Description("Seconds between two sendings to the collector.")]
    public int OtlpIntervalSeconds { get; set; } = 15;

    /// <summary>Where the dashboard is.</summary>
    [Description("ADDRESS:PORT of this machine (127.0.0.1:8080) where the dashboard is served. Without it nothing listens.")]
    public string? Dashboard { get; set; }

    /// <summary>Whether it changes things.</summary>
    [Description("Whether the dashboard may add, remove, resize and limit, and not only show.")]
    public bool DashboardActions { get; set; }

    /// <summary>The dashboard's key.</summary>
    [Description("A file with the dashboard's token, readable by its owner alone. Without it a token is made at each start and printed on standard output.")]
    public string? DashboardTokenFile { get; set; }
}

/// <summary>What a collector speaks.</summary>
internal enum OtlpProtocol
{
    /// <summary>gRPC.</summary>
    Grpc,

    /// <summary>Protocol buffers over HTTP.</summary>
    Http,
}

/// <summary>The manifest's <c>observe</c>, checked.</summary>
/// <param name="Metrics">Where metrics can be scraped, or null for nowhere.</param>
/// <param name="Otlp">Where metrics are sent, or null for nowhere.</param>
/// <param name="UsesHttp">Whether they are sent by HTTP instead of gRPC.</param>
/// <param name="Interval">How often they are sent.</param>
/// <param name="Dashboard">Where the dashboard is, or null for nowhere.</param>
/// <param name="AllowsActions">Whether it changes things.</param>
/// <param name="TokenFile">The file of its token, or null for one of its own making.</param>
public sealed record BoundObserve(IPEndPoint? Metrics, Uri? Otlp, bool UsesHttp, TimeSpan Interval, IPEndPoint? Dashboard, bool AllowsActions, string? TokenFile)
{
    /// <summary>Nothing.</summary>
    public static BoundObserve None { get; } = new(null, null, false, TimeSpan.FromSeconds(15), null, false, null);

    /// <summary>Checks options.</summary>
    /// <param name="options">The options.</param>
    /// <param name="report">Takes a key and what is wrong with it.</param>
    internal static BoundObserve From(ObserveOptions options, Action<string, string> report)
    {
        Uri? otlp = null;
        if (options.Otlp is { } url && (!Uri.TryCreate(url, UriKind.Absolute, out otlp) || otlp.Scheme is not ("http" or "https")))
        {
            report("otlp", $"\"{url}\" is no URL like http://127.0.0.1:4317");
        }

        var metrics = Parse("metrics", options.Metrics);
        var dashboard = Parse("dashboard", options.Dashboard);
        if (metrics is not null && metrics.Equals(dashboard))
        {
            report("dashboard", "metrics are there already; give each a port of its own");
        }

        if (options.Dashboard is null && (options.DashboardActions || options.DashboardTokenFile is not null))
        {
            report(options.DashboardActions ? "dashboardActions" : "dashboardTokenFile", "there is no dashboard; name its address too");
        }

        return new BoundObserve(
            metrics, otlp, options.OtlpProtocol == OtlpProtocol.Http, TimeSpan.FromSeconds(options.OtlpIntervalSeconds), dashboard, options.DashboardActions, options.DashboardTokenFile);

        IPEndPoint? Parse(string key, string? text)
        {
            if (text is null)
            {
                return null;
            }

            if (!IPEndPoint.TryParse(text, out var endPoint) || endPoint.Port == 0)
            {
                report(key, $"\"{text}\" is no address and port like 127.0.0.1:9464 or [::1]:9464");
                return null;
            }

            if (!IPAddress.IsLoopback(endPoint.Address))
            {
                report(key, $"{endPoint.Address} is open to other machines, and this is neither encrypted nor protected; use 127.0.0.1, and a proxy or an SSH tunnel to reach it from elsewhere");
                return null;
            }

            return endPoint;
        }
    }
}
