using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;

namespace Vhost.Host.Loading.Tests;

/// <summary>Writes an assembly that says contract 1.0 and refers to another assembly, in a version that cannot be had or with a contract of its own.</summary>
internal static class SyntheticAssembly
{
    public static byte[] Referring(string name, string referenceName, Version referenceVersion, (int Major, int Minor)? pciContract = null)
    {
        var metadata = new MetadataBuilder();
        metadata.AddModule(0, metadata.GetOrAddString(name + ".dll"), metadata.GetOrAddGuid(new Guid(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)), default, default);
        AssemblyDefinitionHandle assembly = metadata.AddAssembly(metadata.GetOrAddString(name), new Version(1, 0, 0, 0), default, default, default, AssemblyHashAlgorithm.None);
        metadata.AddTypeDefinition(default, default, metadata.GetOrAddString("<Module>"), default, MetadataTokens.FieldDefinitionHandle(1), MetadataTokens.MethodDefinitionHandle(1));
        AssemblyReferenceHandle other = metadata.AddAssemblyReference(metadata.GetOrAddString(referenceName), referenceVersion, default, default, default, default);
        AssemblyReferenceHandle contract = metadata.AddAssemblyReference(
            metadata.GetOrAddString("Vhost.Abstractions"), new Version(1, 0, 0, 0), default, default, default, default);
        AddVersion(metadata, assembly, contract, "Vhost.Abstractions", nameof(PluginContractAttribute), (1, 0));
        if (pciContract is { } version)
        {
            AddVersion(metadata, assembly, other, "Vhost.Pci", "PciContractAttribute", version);
        }

        var image = new BlobBuilder();
        new ManagedPEBuilder(PEHeaderBuilder.CreateLibraryHeader(), new MetadataRootBuilder(metadata), new BlobBuilder()).Serialize(image);
        return image.ToArray();
    }

    private static void AddVersion(MetadataBuilder metadata, AssemblyDefinitionHandle assembly, AssemblyReferenceHandle of, string space, string name, (int Major, int Minor) version)
    {
        TypeReferenceHandle attribute = metadata.AddTypeReference(of, metadata.GetOrAddString(space), metadata.GetOrAddString(name));
        var signature = new BlobBuilder();
        new BlobEncoder(signature).MethodSignature(isInstanceMethod: true).Parameters(2, returnType => returnType.Void(), parameters =>
        {
            parameters.AddParameter().Type().Int32();
            parameters.AddParameter().Type().Int32();
        });
        MemberReferenceHandle constructor = metadata.AddMemberReference(attribute, metadata.GetOrAddString(".ctor"), metadata.GetOrAddBlob(signature));
        var value = new BlobBuilder();
        value.WriteUInt16(1); // ECMA-335 partition II, 23.3
        value.WriteInt32(version.Major);
        value.WriteInt32(version.Minor);
        value.WriteUInt16(0);
        metadata.AddCustomAttribute(assembly, constructor, metadata.GetOrAddBlob(value));
    }
}
