using System.CommandLine;
using Microsoft.Extensions.Logging;

namespace Vhost.Host.Cli;

/// <summary>Options that several commands have. Each command has its own instances: an instance belongs to one command.</summary>
internal static class CommonOptions
{
    /// <summary>Where plugins lie.</summary>
    internal static Option<string[]> Plugins() => new("--plugins")
    {
        Description = "A directory of plugins, instead of the manifest's or the default. May be given several times.",
        HelpName = "DIR",
    };

    /// <summary>Overrides of a manifest.</summary>
    internal static Option<string[]> Assignments() => new("--set")
    {
        Description = "Override a value of the manifest: bdevs.Malloc0.sizeMiB=128. May be given several times; wins over VHOSTD_ variables.",
        HelpName = "PATH=VALUE",
    };

    /// <summary>Output for programs.</summary>
    internal static Option<bool> Json() => new("--json") { Description = "Print JSON for programs instead of text for people." };

    /// <summary>The manifest's file.</summary>
    internal static Argument<string> Manifest() => new("MANIFEST") { Description = "The manifest: a JSON file; comments and trailing commas are allowed." };

    /// <summary>How much is logged.</summary>
    internal static Option<LogLevel> LogLevel() => new("--log-level")
    {
        Description = "The least important messages that are logged.",
        DefaultValueFactory = _ => Microsoft.Extensions.Logging.LogLevel.Information,
    };

    /// <summary>How log messages look.</summary>
    internal static Option<LogFormat> LogFormat() => new("--log-format")
    {
        Description = "How log messages look: one line of text each, or one JSON object each. They go to standard error.",
        DefaultValueFactory = _ => Cli.LogFormat.Text,
    };
}
