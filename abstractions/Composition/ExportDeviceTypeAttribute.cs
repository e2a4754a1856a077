using System.Composition;

namespace Vhost.Abstractions;

/// <summary>
/// Exports an <see cref="IDeviceTypeFactory"/> under the type name that a manifest uses. The contract version is a default argument, so the
/// compiler bakes the version that the plugin was built against into the plugin.
/// </summary>
[MetadataAttribute]
[AttributeUsage(AttributeTargets.Class)]
public sealed class ExportDeviceTypeAttribute : ExportAttribute
{
    /// <summary>Exports the class as a device type.</summary>
    /// <param name="typeName">The manifest's <c>type</c>: <c>[a-z0-9-]+</c>, unique among the device types.</param>
    /// <param name="contractMajor">Leave at its default.</param>
    /// <param name="contractMinor">Leave at its default.</param>
    public ExportDeviceTypeAttribute(string typeName, int contractMajor = ContractVersion.Major, int contractMinor = ContractVersion.Minor)
        : base(typeof(IDeviceTypeFactory))
    {
        TypeName = typeName;
        ContractMajor = contractMajor;
        ContractMinor = contractMinor;
    }

    /// <summary>The kind of part: <see cref="PartKind.DeviceType"/>.</summary>
    public PartKind Kind => PartKind.DeviceType;

    /// <summary>The manifest's <c>type</c>.</summary>
    public string TypeName { get; }

    /// <summary>The contract's major version at the plugin's compile time.</summary>
    public int ContractMajor { get; }

    /// <summary>The contract's minor version at the plugin's compile time.</summary>
    public int ContractMinor { get; }
}
