using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vhost.Host.Loading;
using Vhost.Host.Manifest;

namespace Vhost.Host.Cli;

/// <summary>What commands print.</summary>
/// <param name="output">Standard output.</param>
/// <param name="error">Standard error.</param>
internal sealed class Output(TextWriter output, TextWriter error)
{
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Prints a line.</summary>
    /// <param name="text">The line.</param>
    internal void Line(string text) => output.WriteLine(text);

    /// <summary>Prints JSON.</summary>
    /// <param name="node">What to print.</param>
    internal void Json(JsonNode node) => output.WriteLine(node.ToJsonString(Indented));

    /// <summary>Prints a line on standard error.</summary>
    /// <param name="text">The line.</param>
    internal void Error(string text) => error.WriteLine(text);

    /// <summary>Prints all faults and warnings of a manifest on standard error.</summary>
    /// <param name="fileName">The manifest.</param>
    /// <param name="result">What became of it.</param>
    internal void Report(string fileName, ManifestResult result)
    {
        foreach (ManifestError fault in result.Errors)
        {
            Error($"error: {fault.Format(fileName)}");
        }

        foreach (ManifestError warning in result.Warnings)
        {
            Error($"warning: {warning.Format(fileName)}");
        }

        foreach (PluginProblem problem in result.Plugins?.Problems ?? [])
        {
            Error($"warning: {problem}");
        }
    }

    /// <summary>Faults as JSON.</summary>
    /// <param name="errors">The faults.</param>
    internal static JsonArray ToJson(IEnumerable<ManifestError> errors) =>
        [.. errors.Select(error => new JsonObject { ["path"] = error.Path, ["message"] = error.Message, ["line"] = error.Line, ["source"] = error.Source })];

    /// <summary>Problems as JSON.</summary>
    /// <param name="problems">The problems.</param>
    internal static JsonArray ToJson(IEnumerable<PluginProblem> problems) =>
        [.. problems.Select(problem => new JsonObject
        {
            ["code"] = JsonNamingPolicy.CamelCase.ConvertName(problem.Code.ToString()),
            ["plugin"] = problem.PluginId,
            ["file"] = problem.File,
            ["reason"] = problem.Reason,
            ["remedy"] = problem.Remedy,
            ["warning"] = problem.IsWarning,
        })];
}
