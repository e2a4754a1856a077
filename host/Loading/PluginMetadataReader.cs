using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using Vhost.Abstractions;

namespace Vhost.Host.Loading;

/// <summary>Reads <see cref="PluginMetadata"/> from an assembly file (ECMA-335 partition II).</summary>
internal static class PluginMetadataReader
{
    private const string ContractNamespace = "Vhost.Abstractions";

    // By name: the loader reads files, and the PCI library may be absent.
    private const string PciNamespace = "Vhost.Pci";
    private const string PciContractAttribute = "PciContractAttribute";

    /// <summary>Reads a file.</summary>
    /// <param name="file">The assembly file.</param>
    /// <exception cref="BadImageFormatException">The file is not a .NET assembly.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">The file may not be read.</exception>
    internal static PluginMetadata Read(string file)
    {
        using var portable = new PEReader(File.OpenRead(file));
        if (!portable.HasMetadata)
        {
            throw new BadImageFormatException("it is a native library");
        }

        MetadataReader metadata = portable.GetMetadataReader();
        if (!metadata.IsAssembly)
        {
            throw new BadImageFormatException("it is a .NET module without an assembly manifest");
        }

        AssemblyDefinition assembly = metadata.GetAssemblyDefinition();
        string version = assembly.Version.ToString();
        string? targetFramework = null;
        (int, int)? contract = null;
        (int, int)? pciContract = null;
        foreach (CustomAttributeHandle handle in assembly.GetCustomAttributes())
        {
            CustomAttribute attribute = metadata.GetCustomAttribute(handle);
            switch (TypeNameOf(metadata, attribute))
            {
                case (ContractNamespace, nameof(PluginContractAttribute)):
                    BlobReader numbers = Arguments(metadata, attribute);
                    contract = (numbers.ReadInt32(), numbers.ReadInt32());
                    break;
                case (PciNamespace, PciContractAttribute):
                    BlobReader pciNumbers = Arguments(metadata, attribute);
                    pciContract = (pciNumbers.ReadInt32(), pciNumbers.ReadInt32());
                    break;
                case ("System.Runtime.Versioning", "TargetFrameworkAttribute"):
                    targetFramework = Arguments(metadata, attribute).ReadSerializedString();
                    break;
                case ("System.Reflection", "AssemblyInformationalVersionAttribute"):
                    version = Arguments(metadata, attribute).ReadSerializedString() ?? version;
                    break;
            }
        }

        return new PluginMetadata
        {
            AssemblyName = metadata.GetString(assembly.Name),
            Version = version,
            Contract = contract,
            PciContract = pciContract,
            TargetFramework = targetFramework,
            References = [.. metadata.AssemblyReferences.Select(metadata.GetAssemblyReference).Select(reference => (metadata.GetString(reference.Name), reference.Version))],
            Exports = ReadExports(metadata),
        };
    }

    private static List<(PartKind, string)> ReadExports(MetadataReader metadata)
    {
        var exports = new List<(PartKind, string)>();
        foreach (TypeDefinitionHandle type in metadata.TypeDefinitions)
        {
            foreach (CustomAttributeHandle handle in metadata.GetTypeDefinition(type).GetCustomAttributes())
            {
                CustomAttribute attribute = metadata.GetCustomAttribute(handle);
                PartKind? kind = TypeNameOf(metadata, attribute) switch
                {
                    (ContractNamespace, nameof(ExportBdevAttribute)) => PartKind.Bdev,
                    (ContractNamespace, nameof(ExportDeviceTypeAttribute)) => PartKind.DeviceType,
                    (ContractNamespace, nameof(ExportTransportAttribute)) => PartKind.Transport,
                    _ => null,
                };
                if (kind is not null && Arguments(metadata, attribute).ReadSerializedString() is { } typeName)
                {
                    exports.Add((kind.Value, typeName));
                }
            }
        }

        return exports;
    }

    private static (string Namespace, string Name) TypeNameOf(MetadataReader metadata, CustomAttribute attribute)
    {
        switch (attribute.Constructor.Kind)
        {
            case HandleKind.MemberReference:
                EntityHandle parent = metadata.GetMemberReference((MemberReferenceHandle)attribute.Constructor).Parent;
                if (parent.Kind == HandleKind.TypeReference)
                {
                    TypeReference reference = metadata.GetTypeReference((TypeReferenceHandle)parent);
                    return (metadata.GetString(reference.Namespace), metadata.GetString(reference.Name));
                }

                return ("", "");
            case HandleKind.MethodDefinition:
                // The attribute's type is defined in the plugin itself, as compilers do for attributes that they embed.
                TypeDefinition definition = metadata.GetTypeDefinition(
                    metadata.GetMethodDefinition((MethodDefinitionHandle)attribute.Constructor).GetDeclaringType());
                return (metadata.GetString(definition.Namespace), metadata.GetString(definition.Name));
            default:
                return ("", "");
        }
    }

    /// <summary>The fixed arguments of a custom attribute: a blob that begins with 0x0001 (partition II, 23.3).</summary>
    private static BlobReader Arguments(MetadataReader metadata, CustomAttribute attribute)
    {
        BlobReader reader = metadata.GetBlobReader(attribute.Value);
        return reader.ReadUInt16() == 1 ? reader : throw new BadImageFormatException("a custom attribute is malformed");
    }
}
