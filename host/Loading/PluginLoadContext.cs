using System.Reflection;
using McMaster.NETCore.Plugins;

namespace Vhost.Host.Loading;

/// <summary>
/// Loads a plugin's assembly into a load context of its own, so that its private libraries meet no one else's. The only class that
/// knows the loading library. Not collectible: collectible code is neither precompiled nor re-optimised, and a running queue cannot be unloaded anyhow.
/// </summary>
internal static class PluginLoadContext
{
    /// <summary>Loads a plugin.</summary>
    /// <param name="file">Absolute path of the plugin's assembly.</param>
    /// <param name="shared">The assemblies that it takes from the host.</param>
    internal static Assembly Load(string file, SharedAssemblies shared)
    {
        var config = new PluginConfig(file)
        {
            IsUnloadable = false,
            // The closure of the shared assemblies is listed in full, so it need not be walked for each plugin.
            IsLazyLoaded = true,
        };
        foreach (AssemblyName name in shared.AssemblyNames())
        {
            config.SharedAssemblies.Add(name);
        }

        return new PluginLoader(config).LoadDefaultAssembly();
    }
}
