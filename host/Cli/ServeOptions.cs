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
    private readonly Option<LogLevel> _logLevel = CommonOptions.LogLevel();
    private readonly Option<LogFormat> _logFormat = CommonOptions.LogFormat();

    /// <summary>The options.</summary>
    internal IEnumerable<Option> All => [_assignments, _plugins, _logLevel, _logFormat];

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
            Assignments = [.. parsed.GetValue(_assignments) ?? [], .. assignments],
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
}
