using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;

namespace Vhost.Host.Cli;

/// <summary><c>vhostd status</c>: the graph of a running vhostd as a tree.</summary>
internal static class StatusCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        Option<string> socket = RpcCommand.Socket();
        Option<double> timeout = RpcCommand.Timeout();
        Option<bool> json = CommonOptions.Json();
        var command = new ExampleCommand(
            "status",
            "Show what a running vhostd serves: transports, controllers, bdevs, and how they are.",
            "vhostd status",
            "vhostd status --json | jq '.bdevs[] | {name, state, outstanding}'") { socket, timeout, json };
        command.SetAction((parsed, cancellationToken) =>
        {
            var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            void Print(JsonNode status)
            {
                if (parsed.GetValue(json))
                {
                    output.Json(status);
                    return;
                }

                foreach (string line in Draw(status))
                {
                    output.Line(line);
                }
            }

            return RpcCommand.CallAsync(output, parsed.GetRequiredValue(socket), "vhostd_get_status", [], parsed.GetValue(timeout), Print, cancellationToken);
        });
        return command;
    }

    /// <summary>Draws a status.</summary>
    /// <param name="status">The result of <c>vhostd_get_status</c>.</param>
    internal static IEnumerable<string> Draw(JsonNode status)
    {
        JsonNode[] reactors = Items(status["reactors"]);
        yield return $"vhostd {status["state"]}, reactors on CPU {string.Join(", ", reactors.Select(reactor => $"{reactor["cpu"]} ({reactor["health"]})"))}";
        JsonNode[] bdevs = Items(status["bdevs"]);
        var used = new HashSet<string>();
        foreach (JsonNode controller in Items(status["controllers"]))
        {
            JsonNode transport = controller["transport"]!;
            yield return $"├─ {transport["type"]} {transport["endpoint"]}: {transport["state"]}";
            yield return $"│  └─ {controller["type"]} controller {controller["name"]}";
            JsonNode[] references = Items(controller["bdevs"]);
            for (int i = 0; i < references.Length; i++)
            {
                string name = references[i]["bdev"]!.GetValue<string>();
                used.Add(name);
                JsonNode? bdev = Array.Find(bdevs, known => known["name"]!.GetValue<string>() == name);
                yield return $"│     {(i == references.Length - 1 ? "└─" : "├─")} {references[i]["place"]}: {Describe(name, bdev)}";
            }
        }

        foreach (JsonNode bdev in bdevs.Where(bdev => bdev["size_bytes"] is not null && !used.Contains(bdev["name"]!.GetValue<string>())))
        {
            yield return $"├─ no controller: {Describe(bdev["name"]!.GetValue<string>(), bdev)}";
        }

        foreach (JsonNode problem in Items(status["health"]?["problems"]))
        {
            yield return $"├─ PROBLEM: {problem}";
        }

        yield return $"└─ {Items(status["controllers"]).Length} controllers, {bdevs.Count(bdev => bdev["state"]!.GetValue<string>() == "present")} bdevs";
    }

    private static JsonNode[] Items(JsonNode? array) => [.. (array as JsonArray ?? []).OfType<JsonNode>()];

    private static string Describe(string name, JsonNode? bdev)
    {
        if (bdev?["size_bytes"] is not JsonValue size)
        {
            return $"{name} (not there)";
        }

        string mebibytes = (size.GetValue<ulong>() / 1048576.0).ToString("0.#", CultureInfo.InvariantCulture);
        string state = bdev["state"]!.GetValue<string>();
        return $"{name}, {bdev["product_name"]}, {mebibytes} MiB, {bdev["reads"]} reads, {bdev["writes"]} writes, {bdev["failed"]} failed{(state == "present" ? "" : $", {state.ToUpperInvariant()}")}";
    }
}
