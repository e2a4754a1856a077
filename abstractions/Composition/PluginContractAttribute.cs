namespace Vhost.Abstractions;

/// <summary>
/// States which contract an assembly was compiled against. The build files of the contract package add it to each plugin, so that
/// the host can read it from metadata before any code of the plugin runs.
/// </summary>
/// <param name="major">The contract's major version at compile time.</param>
/// <param name="minor">The contract's minor version at compile time.</param>
[AttributeUsage(AttributeTargets.Assembly)]
public sealed class PluginContractAttribute(int major, int minor) : Attribute
{
    /// <summary>The contract's major version at compile time.</summary>
    public int Major { get; } = major;

    /// <summary>The contract's minor version at compile time.</summary>
    public int Minor { get; } = minor;
}
