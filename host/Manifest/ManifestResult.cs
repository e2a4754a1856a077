using Vhost.Host.Loading;

namespace Vhost.Host.Manifest;

/// <summary>What became of a manifest.</summary>
/// <param name="Manifest">The bound manifest, or null if there are errors.</param>
/// <param name="Errors">Everything that is wrong.</param>
/// <param name="Warnings">What is allowed but probably not meant.</param>
/// <param name="Plugins">The plugins, or null if the manifest did not say where to look.</param>
public sealed record ManifestResult(
    BoundManifest? Manifest,
    IReadOnlyList<ManifestError> Errors,
    IReadOnlyList<ManifestError> Warnings,
    PluginCatalog? Plugins);
