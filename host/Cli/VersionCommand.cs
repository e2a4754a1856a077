using System.CommandLine;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Vhost.Abstractions;

namespace Vhost.Host.Cli;

/// <summary><c>vhostd version</c>.</summary>
internal static class VersionCommand
{
    /// <summary>The program's version.</summary>
    internal static string Version { get; } =
        typeof(VersionCommand).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown";

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        Option<bool> json = CommonOptions.Json();
        var command = new Command("version", "Print the versions of vhostd, of the plugin contract that it offers, and of the runtime.") { json };
        command.SetAction(parsed =>
        {
            var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            string contract = $"{ContractVersion.Major}.{ContractVersion.Minor}";
            if (parsed.GetValue(json))
            {
                output.Json(new JsonObject { ["version"] = Version, ["contract"] = contract, ["runtime"] = RuntimeInformation.FrameworkDescription });
            }
            else
            {
                output.Line($"vhostd {Version}, contract {contract}, {RuntimeInformation.FrameworkDescription} on {RuntimeInformation.RuntimeIdentifier}");
            }

            return ExitCode.Success;
        });
        return command;
    }
}
