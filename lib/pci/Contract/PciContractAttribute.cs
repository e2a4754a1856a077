namespace Vhost.Pci;

/// <summary>
/// States which version of Vhost.Pci an assembly was compiled against; on Vhost.Pci itself, which version it offers. The build files of the package add it to
/// each plugin that refers to Vhost.Pci, so that the host can read it from metadata before any code of the plugin runs.
/// </summary>
/// <param name="major">The major version at compile time.</param>
/// <param name="minor">The minor version at compile time.</param>
[AttributeUsage(AttributeTargets.Assembly)]
public sealed class PciContractAttribute(int major, int minor) : Attribute
{
    /// <summary>The major version at compile time.</summary>
    public int Major { get; } = major;

    /// <summary>The minor version at compile time.</summary>
    public int Minor { get; } = minor;
}
