using System.CommandLine;

namespace Vhost.Host.Cli;

/// <summary>The command line of <c>vhostd</c>.</summary>
public static class VhostdCommand
{
    /// <summary>Parses and runs a command line.</summary>
    /// <param name="args">The arguments without the program's name.</param>
    /// <returns>The exit code.</returns>
    public static Task<int> InvokeAsync(string[] args) =>
        new RootCommand("Serves block storage to virtual machines; every part is a plugin, joined by a JSON manifest.").Parse(args).InvokeAsync();
}
