using System.Collections;
using System.Text.Json.Nodes;
using Vhost.Host.Loading;

namespace Vhost.Host.Manifest;

/// <summary>What a manifest is read from.</summary>
/// <param name="FileName">The file.</param>
public sealed record ManifestRequest(string FileName)
{
    /// <summary>The manifest itself where it is no file's; the file name is then only what messages call it.</summary>
    public JsonObject? Content { get; init; }

    /// <summary>Overrides of the command line, <c>path=value</c> each, in order.</summary>
    public IReadOnlyList<string> Assignments { get; init; } = [];

    /// <summary>The environment, of which variables that begin with <c>VHOSTD_</c> override the file.</summary>
    public IDictionary Environment { get; init; } = System.Environment.GetEnvironmentVariables();

    /// <summary>Directories of plugins that replace those of the manifest, or empty.</summary>
    public IReadOnlyList<string> PluginDirectories { get; init; } = [];

    /// <summary>Loads plugins from directories; the flag says whether permissions are enforced.</summary>
    public Func<IReadOnlyList<string>, PluginPolicy, PluginCatalog> LoadPlugins { get; init; } = static (directories, policy) => PluginCatalogBuilder.Load(directories, policy);
}
