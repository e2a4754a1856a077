using Vhost.Host.Loading;

namespace Vhost.Host.Cli;

/// <summary>Where commands without a manifest look for plugins.</summary>
internal static class PluginDirectories
{
    /// <summary>Loads the plugins of the given directories, or of <c>plugins</c> beside the executable.</summary>
    /// <param name="given">The command line's directories.</param>
    internal static PluginCatalog Load(string[]? given) =>
        PluginCatalogBuilder.Load(given is { Length: > 0 } ? given : [Path.Combine(AppContext.BaseDirectory, "plugins")]);
}
