using System.CommandLine;
using System.CommandLine.Invocation;
using Microsoft.Extensions.Logging;
using Vhost.Host.Manifest;
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
          vhostd -S /var/tmp -m 0x3                                   start as SPDK's vhost: empty, filled by RPC
          vhostd -S 0000:00:07.0 -T vvu -m 0x3                        the same behind a vvu device
          vhostd apply disks.json                                     make a running vhostd match the changed manifest
          vhostd validate disks.json                                  every mistake at once, nothing is started
          vhostd schema > vhostd.schema.json                          for editors
          vhostd plugins list                                         what is there, and what is wrong with it
          vhostd plugins show malloc                                  a plugin's types and their options
          vhostd run disks.json --rpc-socket /var/tmp/spdk.sock       with SPDK-compatible JSON-RPC
          vhostd rpc bdev_get_bdevs name=Malloc0                      call a method; vhostd rpc --page describes them
          vhostd status                                               what a running vhostd serves, as a tree
          vhostd health                                               whether it serves as it should
          vhostd top                                                  rates, latencies, CPU, live
          vhostd trace vhost.0                                        what happened to a controller lately
          vhostd bench vhost.0 --queue-depth 32                       load a controller that has no front-end
          vhostd pci list                                             storage controllers, and which are safe to take
          vhostd pci bind 0000:00:06.0                                take one; vhostd pci unbind gives it back
          source <(vhostd completion bash)                            let the shell complete command lines

        Exit codes: 0 success, 1 something failed, 2 the command line or the manifest is wrong.
        """;

    /// <summary>Parses and runs a command line.</summary>
    /// <param name="args">The arguments without the program's name.</param>
    /// <returns>The exit code.</returns>
    public static async Task<int> InvokeAsync(string[] args)
    {
        (RootCommand root, SpdkStart start) = Create();
        ParseResult parsed = root.Parse(args);
        // Signals are the business of what serves: it stops in order. The other commands end at once.
        var configuration = new InvocationConfiguration { ProcessTerminationTimeout = null };
        if (parsed.Errors.Count == 0 && parsed.CommandResult.Command != root && start.FindMisplaced(parsed) is { } option)
        {
            configuration.Error.WriteLine($"error: {option} before \"{parsed.CommandResult.Command.Name}\" is for a start without a manifest; give it after the command, or leave the command out");
            return ExitCode.Usage;
        }

        if (parsed.Action is ParseErrorAction && !LacksSubcommand(parsed))
        {
            ReportErrors(parsed, configuration.Error);
            return ExitCode.Usage;
        }

        int code = await parsed.InvokeAsync(configuration).ConfigureAwait(false);
        return parsed.Errors.Count > 0 ? ExitCode.Usage : code;
    }

    /// <summary>Whether nothing is wrong but that a command of commands stands alone: its help says what there is.</summary>
    private static bool LacksSubcommand(ParseResult parsed) =>
        parsed.CommandResult.Command is { Subcommands.Count: > 0 } command && command is not RootCommand && parsed.UnmatchedTokens.Count == 0;

    /// <summary>Says what is wrong in a few lines: a whole page of help would hide it.</summary>
    private static void ReportErrors(ParseResult parsed, TextWriter error)
    {
        foreach (string message in parsed.Errors.Select(fault => fault.Message.Trim().ReplaceLineEndings(" ").Replace("\t", "", StringComparison.Ordinal)).Distinct())
        {
            error.WriteLine($"error: {message}");
        }

        Command command = parsed.CommandResult.Command;
        if (parsed.UnmatchedTokens.Count > 0 && command.Subcommands.Where(known => !known.Hidden).Select(known => known.Name).ToArray() is { Length: > 0 } names)
        {
            error.WriteLine($"there is no command \"{parsed.UnmatchedTokens[0]}\"{Suggestion.For(parsed.UnmatchedTokens[0], names, "commands")}");
        }

        string path = string.Join(' ', parsed.CommandResult.Command is RootCommand ? ["vhostd"] : Names(parsed.CommandResult).Prepend("vhostd"));
        error.WriteLine($"\"{path} --help\" shows what it takes");

        static IEnumerable<string> Names(System.CommandLine.Parsing.CommandResult result) =>
            result.Command is RootCommand ? [] : Names((System.CommandLine.Parsing.CommandResult)result.Parent!).Append(result.Command.Name);
    }

    /// <summary>Makes the table of commands.</summary>
    internal static (RootCommand Root, SpdkStart Start) Create()
    {
        static IManifestServer CreateServer(BoundManifest manifest, ILoggerFactory loggers, Action requestStop) => new ManifestServer(manifest, loggers, requestStop);

        var root = new RootCommand(Description)
        {
            RunCommand.Create(CreateServer),
            ApplyCommand.Create(),
            ValidateCommand.Create(),
            SchemaCommand.Create(),
            PluginsCommand.Create(),
            RpcCommand.Create(),
            StatusCommand.Create(),
            HealthCommand.Create(),
            TopCommand.Create(),
            TraceCommand.Create(),
            BenchCommand.Create(),
            PciCommand.Create(new PciInventory()),
            CompletionCommand.Create(),
            VersionCommand.Create(),
        };
        var start = new SpdkStart(new ServeOptions(CreateServer));
        start.AddTo(root);
        root.Subcommands.Add(ManCommand.Create(root));
        ExampleCommand.ShowIn(root);
        return (root, start);
    }
}
