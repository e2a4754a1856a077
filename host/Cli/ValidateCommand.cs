using System.CommandLine;
using System.Text.Json.Nodes;
using Vhost.Host.Manifest;

namespace Vhost.Host.Cli;

/// <summary><c>vhostd validate</c>: everything that <c>run</c> checks, without starting anything.</summary>
internal static class ValidateCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        Argument<string> manifest = CommonOptions.Manifest();
        Option<string[]> assignments = CommonOptions.Assignments();
        Option<string[]> plugins = CommonOptions.Plugins();
        Option<bool> json = CommonOptions.Json();
        var command = new ExampleCommand(
            "validate",
            "Check a manifest as run does, and start nothing. All faults are reported at once; exit code 2 if there are any.",
            "vhostd validate disks.json",
            "vhostd validate disks.json --json")
        {
            manifest, assignments, plugins, json,
        };
        command.SetAction(parsed =>
        {
            string file = parsed.GetRequiredValue(manifest);
            var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            ManifestResult result = ManifestReader.Read(new ManifestRequest(file)
            {
                Assignments = parsed.GetValue(assignments) ?? [],
                PluginDirectories = parsed.GetValue(plugins) ?? [],
            });
            if (parsed.GetValue(json))
            {
                output.Json(new JsonObject
                {
                    ["valid"] = result.Manifest is not null,
                    ["errors"] = Output.ToJson(result.Errors),
                    ["warnings"] = Output.ToJson(result.Warnings),
                    ["pluginProblems"] = Output.ToJson(result.Plugins?.Problems ?? []),
                });
            }
            else
            {
                output.Report(file, result);
                if (result.Manifest is { } bound)
                {
                    output.Line($"{file} is valid: {bound.Bdevs.Count} bdevs, {bound.Transports.Count} transports, {bound.Controllers.Count} controllers");
                }
            }

            return result.Manifest is null ? ExitCode.Usage : ExitCode.Success;
        });
        return command;
    }
}
