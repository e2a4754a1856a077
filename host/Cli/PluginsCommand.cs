using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vhost.Abstractions;
using Vhost.Host.Loading;
using Vhost.Host.Manifest;

namespace Vhost.Host.Cli;

/// <summary><c>vhostd plugins</c>: loads the plugins for real and shows what they are and what is wrong with them.</summary>
internal static class PluginsCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create() =>
        new("plugins", "Show the plugins that vhostd finds, by loading them as run does.") { List(), Show() };

    private static Command List()
    {
        Option<string[]> plugins = CommonOptions.Plugins();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("list", "List all plugins, what they export, and what is wrong with them. Exit code 1 if one cannot be used.") { plugins, json };
        command.SetAction(parsed =>
        {
            var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            PluginCatalog catalog = PluginDirectories.Load(parsed.GetValue(plugins));
            if (parsed.GetValue(json))
            {
                output.Json(new JsonObject
                {
                    ["contract"] = $"{ContractVersion.Major}.{ContractVersion.Minor}",
                    ["plugins"] = new JsonArray([.. catalog.Plugins.Select(ToJson)]),
                    ["problems"] = Output.ToJson(catalog.Problems),
                });
            }
            else
            {
                PrintTable(output, catalog);
                Report(output, catalog.Problems);
            }

            return catalog.Problems.Any(problem => !problem.IsWarning) ? ExitCode.Failure : ExitCode.Success;
        });
        return command;
    }

    private static Command Show()
    {
        var id = new Argument<string>("ID") { Description = "The plugin's id: the name of its folder." };
        Option<string[]> plugins = CommonOptions.Plugins();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("show", "Show one plugin: its file, versions, types, and the options of each. Exit code 1 if it cannot be used.") { id, plugins, json };
        command.SetAction(parsed =>
        {
            var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            PluginCatalog catalog = PluginDirectories.Load(parsed.GetValue(plugins));
            string wanted = parsed.GetRequiredValue(id);
            LoadedPlugin? plugin = catalog.Plugins.FirstOrDefault(candidate => candidate.Id == wanted);
            PluginProblem[] problems = [.. catalog.Problems.Where(problem => problem.PluginId == wanted)];
            if (plugin is null && problems.Length == 0)
            {
                output.Error($"error: there is no plugin \"{wanted}\"" + Suggestion.For(wanted, catalog.Plugins.Select(known => known.Id), "plugins"));
                return ExitCode.Usage;
            }

            if (parsed.GetValue(json))
            {
                output.Json(new JsonObject { ["plugin"] = plugin is null ? null : ToJson(plugin), ["problems"] = Output.ToJson(problems) });
            }
            else
            {
                if (plugin is not null)
                {
                    PrintDetails(output, plugin);
                }

                Report(output, problems);
            }

            return plugin is null || problems.Any(problem => !problem.IsWarning) ? ExitCode.Failure : ExitCode.Success;
        });
        return command;
    }

    private static void Report(Output output, IEnumerable<PluginProblem> problems)
    {
        foreach (PluginProblem problem in problems)
        {
            output.Error($"{(problem.IsWarning ? "warning" : "error")}: {problem}");
        }
    }

    private static void PrintTable(Output output, PluginCatalog catalog)
    {
        string[][] rows =
        [
            ["PLUGIN", "TYPES", "CONTRACT", "VERSION", "FILE"],
            .. catalog.Plugins.Select(plugin => (string[])
            [
                plugin.Id,
                string.Join(", ", plugin.Parts.Select(part => $"{KindOf(part)} {part.TypeName}")),
                $"{plugin.ContractMajor}.{plugin.ContractMinor}",
                plugin.Version,
                plugin.File,
            ]),
        ];
        int[] widths = [.. Enumerable.Range(0, rows[0].Length).Select(column => rows.Max(row => row[column].Length))];
        foreach (string[] row in rows)
        {
            output.Line(string.Join("  ", row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd());
        }
    }

    private static void PrintDetails(Output output, LoadedPlugin plugin)
    {
        output.Line($"plugin    {plugin.Id}");
        output.Line($"file      {plugin.File}");
        output.Line($"version   {plugin.Version}");
        output.Line($"contract  {plugin.ContractMajor}.{plugin.ContractMinor}");
        output.Line($"sha256    {PluginDigest.Of(Path.GetDirectoryName(plugin.File)!)}");
        foreach (PluginPart part in plugin.Parts)
        {
            output.Line("");
            output.Line($"{KindOf(part)} {part.TypeName}: {part.Factory.Description}");
            JsonObject schema = OptionsSchema.Of(part.Factory.OptionsType, part.Factory.CreateDefaultOptions());
            var required = (schema["required"] as JsonArray)?.Select(name => name!.GetValue<string>()).ToHashSet() ?? [];
            foreach ((string key, JsonNode? node) in schema["properties"] as JsonObject ?? [])
            {
                string rest = required.Contains(key) ? " (required)" : node?["default"] is { } value ? $" (default {value.ToJsonString()})" : "";
                output.Line($"  {key}: {TypeOf(node)}{rest}");
                if (node?["description"] is { } description)
                {
                    output.Line($"      {description.GetValue<string>()}");
                }
            }
        }
    }

    private static string TypeOf(JsonNode? schema) => schema switch
    {
        JsonObject node when node["enum"] is JsonArray values => string.Join(" | ", values.Select(value => value?.ToJsonString() ?? "null")),
        JsonObject node when node["minimum"] is { } minimum => $"{TypeName(node)} {minimum}..{node["maximum"]}",
        JsonObject node => TypeName(node),
        _ => "any",
    };

    private static string TypeName(JsonObject schema) => schema["type"] switch
    {
        JsonArray names => string.Join(" or ", names.Select(name => name!.GetValue<string>())),
        JsonValue name => name.GetValue<string>(),
        _ => "any",
    };

    private static string KindOf(PluginPart part) => part.Kind switch
    {
        PartKind.Bdev => "bdev",
        PartKind.DeviceType => "device type",
        _ => "transport",
    };

    private static JsonObject ToJson(LoadedPlugin plugin) => new()
    {
        ["id"] = plugin.Id,
        ["file"] = plugin.File,
        ["version"] = plugin.Version,
        ["contract"] = $"{plugin.ContractMajor}.{plugin.ContractMinor}",
        ["sha256"] = PluginDigest.Of(Path.GetDirectoryName(plugin.File)!),
        ["types"] = new JsonArray([.. plugin.Parts.Select(part => new JsonObject
        {
            ["kind"] = JsonNamingPolicy.CamelCase.ConvertName(part.Kind.ToString()),
            ["type"] = part.TypeName,
            ["description"] = part.Factory.Description,
            ["options"] = OptionsSchema.Of(part.Factory.OptionsType, part.Factory.CreateDefaultOptions()),
        })]),
    };
}
