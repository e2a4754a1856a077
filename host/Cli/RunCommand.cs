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
        Option<string?> rpcSocket = new("--rpc-socket")
        {
            Description = "Serve SPDK-compatible JSON-RPC on this unix socket; the same as --set rpc.socket=PATH. SPDK's own place is /var/tmp/spdk.sock.",
            HelpName = "PATH",
        };
        var serve = new ServeOptions(createServer);
        var command = new ExampleCommand(
            "run",
            "Serve a manifest until SIGTERM or Ctrl-C, which stop within 5 seconds; a second one stops at once.",
            "vhostd run /etc/vhostd/vhostd.json",
            "vhostd run disks.json --rpc-socket /var/tmp/spdk.sock --log-format json",
            "vhostd run disks.json --set reactors.cpumask=0x3")
        {
            manifest, rpcSocket,
        };
        foreach (Option option in serve.All)
        {
            command.Options.Add(option);
        }

        command.SetAction((parsed, cancellationToken) => serve.ServeAsync(
            parsed,
            new ManifestRequest(parsed.GetRequiredValue(manifest)),
            parsed.GetValue(rpcSocket) is { } path ? [$"rpc.socket={path}"] : [],
            cancellationToken));
        return command;
    }
}
