using System.CommandLine;
using Vhost.Host.Wiring;
using Vhost.Pci;

namespace Vhost.Host.Cli;

/// <summary>The command line of <c>vhostd</c>.</summary>
public static class VhostdCommand
{
    private const string Description =
        """
        Serves block storage to virtual machines; every part is a plugin, joined by a JSON manifest.

        Examples:
          vhostd run /etc/vhostd/vhostd.json                          serve until SIGTERM or Ctrl-C
          vhostd run disks.json --set bdevs.Malloc0.sizeMiB=128       override a value
          VHOSTD_reactors__mode=poll vhostd run disks.json            the same by the environment
          vhostd validate disks.json                                  every mistake at once, nothing is started
          vhostd schema > vhostd.schema.json                          for editors
          vhostd plugins list                                         what is there, and what is wrong with it
          vhostd plugins show malloc                                  a plugin's types and their options
          vhostd run disks.json --rpc-socket /var/tmp/spdk.sock       with SPDK-compatible JSON-RPC
          vhostd rpc bdev_get_bdevs name=Malloc0                      call a method; vhostd rpc --page describes them
          vhostd status                                               what a running vhostd serves, as a tree
          vhostd pci list                                             storage controllers, and which are safe to take
          vhostd pci bind 0000:00:06.0                                take one; vhostd pci unbind gives it back

        Exit codes: 0 success, 1 something failed, 2 the command line or the manifest is wrong.
        """;

    /// <summary>Parses and runs a command line.</summary>
    /// <param name="args">The arguments without the program's name.</param>
    /// <returns>The exit code.</returns>
    public static async Task<int> InvokeAsync(string[] args)
    {
        var root = new RootCommand(Description)
        {
            RunCommand.Create(static (manifest, loggers, requestStop) => new ManifestServer(manifest, loggers, requestStop)),
            ValidateCommand.Create(),
            SchemaCommand.Create(),
            PluginsCommand.Create(),
            RpcCommand.Create(),
            StatusCommand.Create(),
            PciCommand.Create(new PciInventory()),
            VersionCommand.Create(),
        };
        ParseResult parsed = root.Parse(args);
        // Signals are the run command's business: it stops in order. The other commands end at once.
        var configuration = new InvocationConfiguration { ProcessTerminationTimeout = null };
        int code = await parsed.InvokeAsync(configuration).ConfigureAwait(false);
        return parsed.Errors.Count > 0 ? ExitCode.Usage : code;
    }
}
