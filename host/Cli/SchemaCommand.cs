using System.CommandLine;
using Vhost.Host.Loading;
using Vhost.Host.Manifest;

namespace Vhost.Host.Cli;

/// <summary><c>vhostd schema</c>: the JSON Schema of manifests, for editors.</summary>
internal static class SchemaCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        Option<string[]> plugins = CommonOptions.Plugins();
        var command = new Command("schema", "Print the JSON Schema (draft 2020-12) of manifests, merged from the plugins' own. Editors complete and check manifests with it.")
        {
            plugins,
        };
        command.SetAction(parsed =>
        {
            var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            PluginCatalog catalog = PluginDirectories.Load(parsed.GetValue(plugins));
            foreach (PluginProblem problem in catalog.Problems)
            {
                output.Error($"warning: {problem}");
            }

            output.Json(ManifestSchema.Of(catalog));
            return ExitCode.Success;
        });
        return command;
    }
}
