using System.CommandLine;
using System.Text.Json.Nodes;
using Vhost.Host.Manifest;

namespace Vhost.Host.Cli;

/// <summary><c>vhostd apply</c>: makes a running vhostd match a changed manifest.</summary>
internal static class ApplyCommand
{
    internal static Command Create()
    {
        var file = new Argument<FileInfo>("MANIFEST") { Description = "The wanted manifest, as a whole." };
        var check = new Option<bool>("--check") { Description = "Only tell what would be done." };
        var socket = RpcCommand.Socket();
        var timeout = RpcCommand.Timeout();
        var json = CommonOptions.Json();
        var command = new ExampleCommand(
            "apply",
            "Makes a running vhostd match a manifest by the fewest steps, and says which. Everything is checked before anything is done. A SIGHUP does the same with the manifest that vhostd was started from.",
            "vhostd apply disks.json",
            "vhostd apply disks.json --check")
        {
            file,
            check,
            socket,
            timeout,
            json,
        };
        command.SetAction((parsed, cancellationToken) =>
        {
            var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            JsonObject manifest;
            try
            {
                manifest = ManifestParser.Parse(File.ReadAllBytes(parsed.GetRequiredValue(file).FullName)).Root;
            }
            catch (ManifestSyntaxException exception)
            {
                output.Error($"error: {exception.Error}");
                return Task.FromResult(ExitCode.Usage);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                output.Error($"error: the manifest cannot be read: {exception.Message}");
                return Task.FromResult(ExitCode.Usage);
            }

            bool isCheck = parsed.GetValue(check);
            var parameters = new JsonObject { ["manifest"] = manifest.DeepClone(), ["check"] = isCheck };
            return RpcCommand.CallAsync(
                output,
                parsed.GetRequiredValue(socket),
                "vhostd_apply",
                parameters,
                parsed.GetValue(timeout),
                result =>
                {
                    if (parsed.GetValue(json))
                    {
                        output.Json(result);
                        return;
                    }

                    foreach (JsonNode? warning in result["warnings"]!.AsArray())
                    {
                        output.Error($"warning: {warning}");
                    }

                    foreach (JsonNode? operation in result["operations"]!.AsArray())
                    {
                        output.Line($"{(isCheck ? "would " : "")}{operation}");
                    }

                    foreach (JsonNode? restart in result["restart"]!.AsArray())
                    {
                        output.Line($"needs a restart: {restart}");
                    }

                    if (result["operations"]!.AsArray().Count + result["restart"]!.AsArray().Count == 0)
                    {
                        output.Line("nothing to do: the running state matches the manifest");
                    }
                },
                cancellationToken,
                // What is wrong with the manifest; a step that failed is told otherwise.
                static error => error["message"]?.ToString() == "Invalid parameters" ? ExitCode.Usage : ExitCode.Failure);
        });
        return command;
    }
}
