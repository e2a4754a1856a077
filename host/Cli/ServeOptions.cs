using System.CommandLine;
using Microsoft.Extensions.Logging;
using Vhost.Host.Manifest;

namespace Vhost.Host.Cli;

/// <summary>The options of a command that serves: <c>run</c>, and the start as SPDK's vhost.</summary>
/// <param name="createServer">Makes what serves a manifest; its last argument ends the process in order.</param>
internal sealed class ServeOptions(Func<BoundManifest, ILoggerFactory, Action, IManifestServer> createServer)
{
    private readonly Option<string[]> _assignments = CommonOptions.Assignments();
    private readonly Option<string[]> _plugins = CommonOptions.Plugins();

    private readonly Option<string?> _metrics = new("--metrics")
    {
        Description = "Let Prometheus scrape /metrics here, and tell at /health how vhostd is; the same as --set observe.metrics=... Loopback only. Default: off.",
        HelpName = "ADDRESS:PORT",
    };

    private readonly Option<string?> _otlp = new("--otlp") { Description = "Send metrics to an OpenTelemetry collector: http://127.0.0.1:4317; the same as --set observe.otlp=... Default: off.", HelpName = "URL" };

    private readonly Option<string?> _dashboard = new("--dashboard")
    {
        Description = "Serve the dashboard here: 127.0.0.1:8080; the same as --set observe.dashboard=... Loopback only. Default: off.",
        HelpName = "ADDRESS:PORT",
    };

    private readonly Option<bool> _dashboardActions = new("--dashboard-actions") { Description = "Let the dashboard add, remove, resize and limit, and not only show." };

    private readonly Option<string?> _tokenFile = new("--dashboard-token-file")
    {
        Description = "A file with the dashboard's token (chmod 600). Without it one is made at each start and printed.",
        HelpName = "FILE",
    };

    private readonly Option<LogLevel> _logLevel = CommonOptions.LogLevel();
    private readonly Option<LogFormat> _logFormat = CommonOptions.LogFormat();

    /// <summary>The options.</summary>
    internal IEnumerable<Option> All => [_assignments, _plugins, _metrics, _otlp, _dashboard, _dashboardActions, _tokenFile, _logLevel, _logFormat];

    /// <summary>Whether any of them was given.</summary>
    /// <param name="parsed">The command line.</param>
    internal bool AreGiven(ParseResult parsed) => All.Any(option => parsed.GetResult(option) is { Implicit: false });

    /// <summary>Checks a manifest and serves it until a signal.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="request">What to read; what the options override is added.</param>
    /// <param name="assignments">Overrides that the command makes itself.</param>
    /// <param name="cancellationToken">Stops as a signal does.</param>
    /// <returns>The exit code.</returns>
    internal async Task<int> ServeAsync(ParseResult parsed, ManifestRequest request, IEnumerable<string> assignments, CancellationToken cancellationToken)
    {
        var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
        ManifestResult result = ManifestReader.Read(request with
        {
            Assignments =
            [
                .. parsed.GetValue(_assignments) ?? [],
                .. assignments,
                .. Assign(parsed, _metrics, "metrics"),
                .. Assign(parsed, _otlp, "otlp"),
                .. Assign(parsed, _dashboard, "dashboard"),
                .. Assign(parsed, _tokenFile, "dashboardTokenFile"),
                .. parsed.GetValue(_dashboardActions) ? [$"{ManifestSections.ObserveKey}.dashboardActions=true"] : Array.Empty<string>(),
            ],
            PluginDirectories = parsed.GetValue(_plugins) ?? [],
        });
        if (request.Content is null || result.Manifest is null)
        {
            // What is empty by intent needs no warning.
            output.Report(request.FileName, result);
        }

        if (result.Manifest is not { } bound)
        {
            return ExitCode.Usage;
        }

        var service = new VhostdService((loggers, requestStop) => createServer(bound, loggers, requestStop), output, parsed.GetValue(_logLevel), parsed.GetValue(_logFormat));
        return await service.RunAsync(bound.Controllers.Count == 1 ? "1 controller" : $"{bound.Controllers.Count} controllers", cancellationToken).ConfigureAwait(false);
    }

    private static string[] Assign(ParseResult parsed, Option<string?> option, string key) =>
        parsed.GetValue(option) is { } value ? [$"{ManifestSections.ObserveKey}.{key}={value}"] : [];
}
