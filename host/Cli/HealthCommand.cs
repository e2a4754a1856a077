using System.CommandLine;
using System.Text.Json.Nodes;

namespace Vhost.Host.Cli;

/// <summary><c>vhostd health</c>: whether a running vhostd serves as it should.</summary>
internal static class HealthCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        Option<string> socket = RpcCommand.Socket();
        Option<double> timeout = RpcCommand.Timeout();
        Option<bool> json = CommonOptions.Json();
        var command = new ExampleCommand(
            "health",
            "Say whether a running vhostd serves as it should: reactors turn, bdevs that are used are there and in service. Exit code 1 if not.",
            "vhostd health && echo well",
            "vhostd health --json --timeout 5")
        {
            socket, timeout, json,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            bool isHealthy = false;
            int code = await RpcCommand.CallAsync(output, parsed.GetRequiredValue(socket), "vhostd_get_status", [], parsed.GetValue(timeout), Print, cancellationToken).ConfigureAwait(false);
            return code == ExitCode.Success && !isHealthy ? ExitCode.Failure : code;

            void Print(JsonNode status)
            {
                JsonNode health = status["health"]!;
                isHealthy = health["healthy"]!.GetValue<bool>();
                if (parsed.GetValue(json))
                {
                    output.Json(health);
                    return;
                }

                output.Line(isHealthy ? "healthy" : $"not healthy (vhostd is {status["state"]})");
                foreach (JsonNode? problem in health["problems"]!.AsArray())
                {
                    output.Line($"  {problem}");
                }
            }
        });
        return command;
    }
}
