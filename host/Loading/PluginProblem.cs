namespace Vhost.Host.Loading;

/// <summary>One fault of one plugin. The other plugins are not affected.</summary>
/// <param name="Code">What kind of fault.</param>
/// <param name="PluginId">The plugin: its folder's name.</param>
/// <param name="File">The file or directory at fault.</param>
/// <param name="Reason">What is wrong, as a sentence without a final stop.</param>
/// <param name="Remedy">What to do about it, as a sentence without a final stop.</param>
public sealed record PluginProblem(PluginProblemCode Code, string PluginId, string File, string Reason, string Remedy)
{
    /// <summary>Whether the plugin (or the part of it that the problem names) is usable all the same.</summary>
    public bool IsWarning { get; init; }

    /// <summary>The type names that the plugin would export, as far as its metadata could be read.</summary>
    public IReadOnlyList<string> TypeNames { get; init; } = [];

    /// <inheritdoc/>
    public override string ToString() => $"plugin {PluginId}: {Reason} ({File}). {Remedy}.";
}
