using System.Collections;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Vhost.Host.Manifest;

/// <summary>
/// Applies overrides to a manifest's tree: environment variables <c>VHOSTD_bdevs__Malloc0__sizeMiB=128</c>, then
/// <c>--set bdevs.Malloc0.sizeMiB=128</c>, which wins. A value is read as JSON where it is JSON, and is a string otherwise.
/// </summary>
/// <param name="tree">The manifest.</param>
internal sealed class ManifestOverrides(ManifestTree tree)
{
    /// <summary>What begins the name of an environment variable that overrides the manifest.</summary>
    internal const string EnvironmentPrefix = "VHOSTD_";

    /// <summary>Applies all variables that begin with <see cref="EnvironmentPrefix"/>.</summary>
    /// <param name="environment">The environment.</param>
    internal void ApplyEnvironment(IDictionary environment)
    {
        foreach (string name in environment.Keys.Cast<string>().Where(name => name.StartsWith(EnvironmentPrefix, StringComparison.Ordinal)).Order(StringComparer.Ordinal))
        {
            string[] keys = name[EnvironmentPrefix.Length..].Split("__");
            Apply(keys, (string)environment[name]!, $"environment variable {name}");
        }
    }

    /// <summary>Applies one assignment of the command line.</summary>
    /// <param name="assignment"><c>path=value</c>; a key that has dots is found if it is in the manifest, or written in brackets: <c>controllers[vhost.0].cpumask</c>.</param>
    internal void ApplyAssignment(string assignment)
    {
        string source = $"--set {assignment}";
        int equals = assignment.IndexOf('=', StringComparison.Ordinal);
        if (equals <= 0)
        {
            throw Refuse("", "an override has the form path=value: bdevs.Malloc0.sizeMiB=128", source);
        }

        Apply(Split(assignment[..equals], source), assignment[(equals + 1)..], source);
    }

    private List<string> Split(string path, string source)
    {
        var keys = new List<string>();
        JsonNode? node = tree.Root;
        string rest = path;
        while (rest.Length > 0)
        {
            string key;
            if (rest[0] == '[')
            {
                int close = rest.IndexOf(']', StringComparison.Ordinal);
                key = close > 1 ? rest[1..close] : throw Refuse(path, "a bracket is not closed or empty", source);
                rest = rest[(close + 1)..];
            }
            else
            {
                // Names may have dots, so the longest key that the manifest has here wins.
                key = (node as JsonObject)?.Select(pair => pair.Key)
                    .Where(known => rest.StartsWith(known, StringComparison.Ordinal) && (rest.Length == known.Length || rest[known.Length] is '.' or '['))
                    .MaxBy(known => known.Length) ?? rest[..(rest.AsSpan().IndexOfAny('.', '[') is var end and >= 0 ? end : rest.Length)];
                rest = rest[key.Length..];
            }

            keys.Add(key);
            if (rest.StartsWith('.'))
            {
                rest = rest[1..];
                if (rest.Length == 0)
                {
                    throw Refuse(path, "a path does not end with a dot", source);
                }
            }

            node = Child(node, key);
        }

        return keys;
    }

    private void Apply(IReadOnlyList<string> keys, string text, string source)
    {
        string path = string.Join('.', keys);
        if (keys.Any(key => key.Length == 0))
        {
            throw Refuse(path, "a path has no empty keys", source);
        }

        JsonNode node = tree.Root;
        for (int i = 0; i < keys.Count - 1; i++)
        {
            JsonNode? child = Child(node, keys[i]);
            if (child is null)
            {
                child = new JsonObject();
                Put(node, keys[i], child, path, source);
                tree.NoteOverride(string.Join('.', keys.Take(i + 1)), source, null);
            }

            node = child;
        }

        Put(node, keys[^1], Parse(text), path, source);
        tree.NoteOverride(path, source, text);
    }

    private static JsonNode? Child(JsonNode? node, string key) => node switch
    {
        JsonObject owner => owner[key],
        JsonArray array when int.TryParse(key, out int index) && index >= 0 && index < array.Count => array[index],
        _ => null,
    };

    private static void Put(JsonNode node, string key, JsonNode? value, string path, string source)
    {
        switch (node)
        {
            case JsonObject owner:
                owner[key] = value;
                break;
            case JsonArray array when int.TryParse(key, out int index) && index >= 0 && index <= array.Count:
                if (index == array.Count)
                {
                    array.Add(value);
                }
                else
                {
                    array[index] = value;
                }

                break;
            case JsonArray array:
                throw Refuse(path, $"\"{key}\" is not an index of a list of {array.Count}; the next one is {array.Count}", source);
            default:
                throw Refuse(path, $"there is nothing to set below a plain value ({node.ToJsonString()})", source);
        }
    }

    private static JsonNode? Parse(string text)
    {
        try
        {
            JsonNode? node = JsonNode.Parse(text, documentOptions: new JsonDocumentOptions { AllowDuplicateProperties = false });
            // Written once here: half a surrogate pair would throw wherever it is first looked at.
            _ = node?.ToJsonString();
            return node;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            return JsonValue.Create(text);
        }
    }

    private static ManifestSyntaxException Refuse(string path, string message, string source) => new(new ManifestError(path, message, null, source));
}
