using System.CommandLine;
using System.ComponentModel;
using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Vhost.Host.Cli;

/// <summary>
/// <c>vhostd bench</c>: starts the load generator, a program of its own that lies beside vhostd. It is a vhost-user front-end, so it knows
/// protocols that this program does not.
/// </summary>
internal static class BenchCommand
{
    private const string Program = "vhost-bench";

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var target = new Argument<string>("TARGET") { Description = "A vhost-user socket, or the name of a controller of a running vhostd. It must have no front-end." };
        Option<string> socket = RpcCommand.Socket();
        var command = new ExampleCommand(
            "bench",
            "Load a vhost-user-blk or vhost-user-scsi server and report rates and latencies. All other options go to vhost-bench; \"vhostd bench --list-options\" shows them. Reads only, unless --read-percent says otherwise: writes destroy what is on the disk.",
            "vhostd bench /var/tmp/vhost.0 --device scsi --queue-depth 32",
            "vhostd bench vhost.1 --block-size 131072 --pattern seq --json")
        {
            target, socket,
        };
        target.Arity = ArgumentArity.ZeroOrOne;
        var listOptions = new Option<bool>("--list-options") { Description = "Show the options of vhost-bench." };
        command.Options.Add(listOptions);
        command.TreatUnmatchedTokensAsErrors = false;
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            if (Find() is not { } file)
            {
                output.Error($"error: {Program} is neither beside vhostd ({AppContext.BaseDirectory}) nor in its bench folder; publish it there: dotnet publish bench -c Release -o {Path.Combine(AppContext.BaseDirectory, "bench")}");
                return ExitCode.Failure;
            }

            if (parsed.GetValue(listOptions))
            {
                return await RunAsync(file, ["--help"], output, cancellationToken).ConfigureAwait(false);
            }

            if (parsed.GetValue(target) is not { } wanted)
            {
                output.Error("error: a socket or a controller is expected: vhostd bench /var/tmp/vhost.0");
                return ExitCode.Usage;
            }

            string[] rest = [.. parsed.UnmatchedTokens];
            if (File.Exists(wanted))
            {
                return await RunAsync(file, ["--socket", wanted, .. rest], output, cancellationToken).ConfigureAwait(false);
            }

            JsonNode? controller = null;
            int code = await RpcCommand.CallAsync(
                output,
                parsed.GetRequiredValue(socket),
                "vhostd_get_status",
                [],
                10,
                status => controller = status["controllers"]!.AsArray().FirstOrDefault(known => known!["name"]!.GetValue<string>() == wanted),
                cancellationToken).ConfigureAwait(false);
            if (code != ExitCode.Success)
            {
                output.Error($"error: there is no socket \"{wanted}\", and no vhostd could be asked for a controller of that name");
                return code;
            }

            if (controller is null || controller["transport"]!["type"]!.GetValue<string>() != "vhost-user")
            {
                output.Error($"error: there is neither a socket nor a controller with a vhost-user socket \"{wanted}\"");
                return ExitCode.Usage;
            }

            string[] device = rest.Contains("--device") ? [] : ["--device", controller["type"]!.GetValue<string>()];
            return await RunAsync(file, ["--socket", controller["transport"]!["endpoint"]!.GetValue<string>(), .. device, .. rest], output, cancellationToken).ConfigureAwait(false);
        });
        return command;
    }

    private static string? Find() =>
        ((string[])[Path.Combine(AppContext.BaseDirectory, Program), Path.Combine(AppContext.BaseDirectory, "bench", Program)]).FirstOrDefault(File.Exists);

    private static async Task<int> RunAsync(string file, IEnumerable<string> arguments, Output output, CancellationToken cancellationToken)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(file, arguments))!;
            try
            {
                await process.WaitForExitAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                process.Kill();
                throw;
            }

            return process.ExitCode;
        }
        catch (Win32Exception exception)
        {
            output.Error($"error: {file} cannot be started: {exception.Message}");
            return ExitCode.Failure;
        }
    }
}
