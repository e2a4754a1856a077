using System.Reflection;

namespace Vhost.Fuzz.Tests.Targets;

/// <summary>The plugins that are built with the host.</summary>
internal static class BuiltPlugins
{
    /// <summary>Where they are.</summary>
    public static string Directory { get; } = Path.Combine(
        typeof(BuiltPlugins).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(attribute => attribute.Key == "VhostdDirectory").Value!, "plugins");
}
