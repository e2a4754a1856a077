using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Vhost.Host.Manifest;
using Vhost.Host.Rpc;

namespace Vhost.Host.Cli;

/// <summary><c>vhostd rpc</c>: one call to a running vhostd.</summary>
internal static class RpcCommand
{
    /// <summary>Where SPDK's tools look.</summary>
    internal const string DefaultSocket = "/var/tmp/spdk.sock";

    private const string AllMethods = "\"vhostd rpc --page\" describes all of them";

    /// <summary>The option that names the socket.</summary>
    internal static Option<string> Socket() => new("--socket", "-s")
    {
        Description = "The RPC socket of a running vhostd.",
        HelpName = "PATH",
        DefaultValueFactory = _ => DefaultSocket,
    };

    /// <summary>The option that bounds the wait.</summary>
    internal static Option<double> Timeout() => new("--timeout", "-t")
    {
        Description = "Seconds to wait for the reply.",
        HelpName = "SECONDS",
        DefaultValueFactory = _ => 60,
    };

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var surface = new RpcSurface(null);
        Argument<string?> method = new("METHOD") { Description = "The method; \"vhostd rpc --page\" describes all.", Arity = ArgumentArity.ZeroOrOne, HelpName = "METHOD" };
        method.CompletionSources.Add(_ => surface.Names.Order(StringComparer.Ordinal).Select(name => new System.CommandLine.Completions.CompletionItem(name)));
        Argument<string[]> arguments = new("KEY=VALUE") { Description = "Its parameters.", Arity = ArgumentArity.ZeroOrMore, HelpName = "KEY=VALUE" };
        arguments.CompletionSources.Add(context =>
            context.ParseResult.GetValue(method) is { } name && surface.Find(name) is { } called
                ? called.Parameters.Select(parameter => new System.CommandLine.Completions.CompletionItem($"{parameter.Name}="))
                : []);
        Option<string> socket = Socket();
        Option<double> timeout = Timeout();
        Option<bool> page = new("--page") { Description = "Print the reference of all methods (Markdown) instead." };
        var command = new ExampleCommand(
            "rpc",
            "Call a method of a running vhostd and print its result as JSON. Exit code 1 if it fails, 2 if the call is wrong in itself.",
            "vhostd rpc rpc_get_methods",
            "vhostd rpc bdev_malloc_create name=Malloc0 num_blocks=131072 block_size=512",
            "vhostd rpc -s /run/vhostd/rpc.sock vhost_scsi_controller_add_target ctrlr=vhost.0 scsi_target_num=-1 bdev_name=Malloc0",
            "vhostd rpc --page                        the reference of all methods")
        {
            method, arguments, socket, timeout, page,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            if (parsed.GetValue(page))
            {
                parsed.InvocationConfiguration.Output.Write(RpcPage.Make());
                return ExitCode.Success;
            }

            if (parsed.GetValue(method) is not { } name)
            {
                output.Error($"error: a method is expected, as in vhostd rpc bdev_get_bdevs; {AllMethods}");
                return ExitCode.Usage;
            }

            if (surface.Find(name) is not { } known)
            {
                output.Error($"error: there is no method \"{name}\"{Suggestion.For(name, surface.Names, "methods")}; {AllMethods}");
                return ExitCode.Usage;
            }

            if (!TryParse(known, parsed.GetValue(arguments) ?? [], out JsonObject parameters, out string fault))
            {
                output.Error($"error: {fault}");
                return ExitCode.Usage;
            }

            return await CallAsync(output, parsed.GetRequiredValue(socket), name, parameters, parsed.GetValue(timeout), output.Json, cancellationToken).ConfigureAwait(false);
        });
        return command;
    }

    /// <summary>Calls, and prints the result or what went wrong.</summary>
    /// <param name="output">Takes errors.</param>
    /// <param name="socket">The socket.</param>
    /// <param name="method">The method.</param>
    /// <param name="parameters">Its parameters.</param>
    /// <param name="timeoutSeconds">How long to wait.</param>
    /// <param name="print">Prints the result.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <param name="toExitCode">The exit code of an error reply; failure by default.</param>
    internal static async Task<int> CallAsync(
        Output output, string socket, string method, JsonObject parameters, double timeoutSeconds, Action<JsonNode> print, CancellationToken cancellationToken, Func<JsonNode, int>? toExitCode = null)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        try
        {
            limit.CancelAfter(TimeSpan.FromSeconds(Math.Clamp(timeoutSeconds, 0.1, 86400)));
            JsonObject reply = await RpcClient.CallAsync(socket, method, parameters, limit.Token).ConfigureAwait(false);
            if (reply["error"] is { } error)
            {
                output.Error($"error: {error["message"]} ({error["code"]}){(error["data"] is { } data ? $": {data}" : "")}");
                return toExitCode?.Invoke(error) ?? ExitCode.Failure;
            }

            if (reply["result"] is { } result)
            {
                print(result);
            }

            return ExitCode.Success;
        }
        catch (IOException exception)
        {
            output.Error($"error: {exception.Message}");
        }
        catch (OperationCanceledException)
        {
            output.Error(FormattableString.Invariant($"error: no reply within {timeoutSeconds} s"));
        }

        return ExitCode.Failure;
    }

    private static bool TryParse(RpcMethod method, IReadOnlyList<string> arguments, out JsonObject parameters, out string fault)
    {
        parameters = [];
        fault = "";
        foreach (string argument in arguments)
        {
            int equals = argument.IndexOf('=', StringComparison.Ordinal);
            string key = equals < 0 ? argument : argument[..equals];
            string text = equals < 0 ? "" : argument[(equals + 1)..];
            if (equals <= 0)
            {
                fault = $"\"{argument}\" has not the form key=value";
            }
            else if (method.Parameters.FirstOrDefault(known => known.Name == key) is not { } parameter)
            {
                fault = $"{method.Name} has no parameter \"{key}\"" + Suggestion.For(key, method.Parameters.Select(known => known.Name), "parameters");
            }
            else if (ToJson(parameter.Type, text) is not { } value)
            {
                fault = $"{key}: \"{text}\" is not {RpcArguments.Describe(parameter.Type)}";
            }
            else if (!parameters.TryAdd(key, value))
            {
                fault = $"\"{key}\" is there twice";
            }
        }

        if (fault.Length == 0 && method.Parameters.Where(known => known.IsRequired).Select(known => known.Name).Except(parameters.Select(pair => pair.Key)).ToArray() is { Length: > 0 } missing)
        {
            fault = $"{method.Name} needs {string.Join(", ", missing.Select(name => $"{name}=..."))}";
        }

        return fault.Length == 0;
    }

    private static JsonNode? ToJson(RpcType type, string text)
    {
        CultureInfo culture = CultureInfo.InvariantCulture;
        return type switch
        {
            RpcType.String => JsonValue.Create(text),
            RpcType.StringList => new JsonArray([.. text.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(item => JsonValue.Create(item))]),
            RpcType.UInt64List => ToNumbers(text),
            RpcType.Object => ToObject(text),
            RpcType.Any => ToAny(text),
            RpcType.Boolean => bool.TryParse(text, out bool flag) ? JsonValue.Create(flag) : null,
            RpcType.Int32 => int.TryParse(text, NumberStyles.AllowLeadingSign, culture, out int int32) ? JsonValue.Create(int32) : null,
            RpcType.UInt32 => uint.TryParse(text, NumberStyles.None, culture, out uint uint32) ? JsonValue.Create(uint32) : null,
            _ => ulong.TryParse(text, NumberStyles.None, culture, out ulong uint64) ? JsonValue.Create(uint64) : null,
        };
    }

    private static JsonArray? ToNumbers(string text)
    {
        var numbers = new JsonArray();
        foreach (string item in text.Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            if (!ulong.TryParse(item, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number))
            {
                return null;
            }

            numbers.Add(number);
        }

        return numbers;
    }

    private static JsonNode? ToAny(string text)
    {
        try
        {
            return JsonNode.Parse(text);
        }
        catch (System.Text.Json.JsonException)
        {
            return JsonValue.Create(text);
        }
    }

    /// <summary>An object in JSON, or @ and the name of a file that holds one.</summary>
    private static JsonObject? ToObject(string text)
    {
        try
        {
            return JsonNode.Parse(text.StartsWith('@') ? File.ReadAllText(text[1..]) : text) as JsonObject;
        }
        catch (Exception exception) when (exception is System.Text.Json.JsonException or IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
