using System.Text.Json.Nodes;

namespace Vhost.Host.Manifest;

/// <summary>A manifest as a tree of JSON values, with the line or the override that each value comes from.</summary>
/// <param name="root">The manifest.</param>
/// <param name="lines">The line of each path that the file has.</param>
internal sealed class ManifestTree(JsonObject root, IReadOnlyDictionary<string, int> lines)
{
    private readonly Dictionary<string, (string Source, string? Text)> _overrides = new(StringComparer.Ordinal);

    /// <summary>The manifest with its overrides.</summary>
    internal JsonObject Root { get; } = root;

    /// <summary>Keys that the file has twice: path and line of the second.</summary>
    internal IReadOnlyList<(string Path, int Line)> DuplicateKeys { get; init; } = [];

    /// <summary>Notes that an override set a value.</summary>
    /// <param name="path">Where.</param>
    /// <param name="source">What set it, for messages.</param>
    /// <param name="text">The value as it was written, or null for an object that was made to hold it.</param>
    internal void NoteOverride(string path, string source, string? text) => _overrides[path] = (source, text);

    /// <summary>The text of an override, which has no JSON type, or null if the value is the file's.</summary>
    /// <param name="path">Where.</param>
    internal string? OverrideText(string path) => _overrides.TryGetValue(path, out var value) ? value.Text : null;

    /// <summary>Where a value, or else what encloses it, comes from.</summary>
    /// <param name="path">Where.</param>
    internal (int? Line, string? Source) OriginOf(string path)
    {
        foreach (string inner in WithEnclosing(path))
        {
            if (_overrides.TryGetValue(inner, out var value))
            {
                return (null, value.Source);
            }
        }

        foreach (string inner in WithEnclosing(path))
        {
            if (lines.TryGetValue(inner, out int line))
            {
                return (line, null);
            }
        }

        return (null, null);
    }

    private static IEnumerable<string> WithEnclosing(string path)
    {
        while (path.Length > 0)
        {
            yield return path;
            path = path[..Math.Max(path.LastIndexOf('.'), 0)];
        }
    }
}
