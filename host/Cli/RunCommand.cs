using System.CommandLine;
using Microsoft.Extensions.Logging;
using Vhost.Host.Manifest;

namespace Vhost.Host.Cli;

/// <summary><c>vhostd run</c>: checks a manifest and serves it until a signal.</summary>
internal static class RunCommand
{
    /// <summary>Makes the command.</summary>
    /// <param name="createServer">Makes what serves a manifest; its last argument ends the process in order.</param>
    internal static Command Create(Func<BoundManifest, ILoggerFactory, Action, IManifestServer> createServer)
    {
        Argument<string> manifest = CommonOptions.Manifest();
        Option<string[]> assignments = CommonOptions.Assignments();
        Option<string[]> plugins = CommonOptions.Plugins();
        Option<string?> rpcSocket = new("--rpc-socket")
        {
            Description = "Serve SPDK-compatible JSON-RPC on this unix socket; the same as --set rpc.socket=PATH. SPDK's own place is /var/tmp/spdk.sock.",
            HelpName = "PATH",
        };
        Option<LogLevel> logLevel = CommonOptions.LogLevel();
        Option<LogFormat> logFormat = CommonOptions.LogFormat();
        var command = new Command("run", "Serve a manifest until SIGTERM or Ctrl-C, which stop within 5 seconds; a second one stops at once.")
        {
            manifest, assignments, plugins, rpcSocket, logLevel, logFormat,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string file = parsed.GetRequiredValue(manifest);
            var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            ManifestResult result = ManifestReader.Read(new ManifestRequest(file)
            {
                Assignments = [.. parsed.GetValue(assignments) ?? [], .. parsed.GetValue(rpcSocket) is { } path ? [$"rpc.socket={path}"] : Array.Empty<string>()],
                PluginDirectories = parsed.GetValue(plugins) ?? [],
            });
            output.Report(file, result);
            if (result.Manifest is not { } bound)
            {
                return ExitCode.Usage;
            }

            var service = new VhostdService((loggers, requestStop) => createServer(bound, loggers, requestStop), output, parsed.GetValue(logLevel), parsed.GetValue(logFormat));
            return await service.RunAsync(bound.Controllers.Count == 1 ? "1 controller" : $"{bound.Controllers.Count} controllers", cancellationToken).ConfigureAwait(false);
        });
        return command;
    }
}
