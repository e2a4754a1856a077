using System.Diagnostics.CodeAnalysis;
using Vhost.Abstractions;

namespace Vhost.Host.Loading;

/// <summary>
/// Decides from files alone whether a plugin can be loaded. What is refused here would otherwise fail later and say less: a contract
/// that is too new with a missing method at its first call, a private copy of a shared assembly with no message at all.
/// </summary>
/// <param name="shared">The assemblies that the host shares.</param>
/// <param name="problems">Takes what is wrong.</param>
internal sealed class PluginInspector(SharedAssemblies shared, List<PluginProblem> problems)
{
    /// <summary>Inspects a plugin.</summary>
    /// <param name="location">Where it lies.</param>
    /// <param name="metadata">What it says about itself, where it could be read.</param>
    /// <returns>Whether it may be loaded.</returns>
    internal bool TryInspect(PluginLocation location, [NotNullWhen(true)] out PluginMetadata? metadata)
    {
        metadata = Read(location);
        if (metadata is null)
        {
            return false;
        }

        PluginProblem? problem = CheckFramework(location, metadata)
            ?? CheckPrivateCopies(location)
            ?? CheckContract(location, metadata)
            ?? CheckPciContract(location, metadata)
            ?? CheckReferences(location, metadata);
        if (problem is null)
        {
            return true;
        }

        problems.Add(problem with { TypeNames = [.. metadata.Exports.Select(export => export.TypeName)] });
        return false;
    }

    private PluginMetadata? Read(PluginLocation location)
    {
        try
        {
            return PluginMetadataReader.Read(location.File);
        }
        catch (BadImageFormatException exception)
        {
            problems.Add(new(PluginProblemCode.NotAnAssembly, location.Id, location.File,
                $"the file is not a .NET assembly: {exception.Message.TrimEnd('.')}",
                "Copy the plugin again; a native library belongs beside the plugin's assembly, under another name"));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            problems.Add(new(PluginProblemCode.FileUnreadable, location.Id, location.File,
                $"the file cannot be read: {exception.Message.TrimEnd('.')}",
                "Let vhostd's user read the file and enter its directory"));
        }

        return null;
    }

    private static PluginProblem? CheckFramework(PluginLocation location, PluginMetadata metadata)
    {
        int runtimeMajor = Environment.Version.Major;
        bool runs = metadata.TargetFramework is not { } moniker
            || (moniker.Split(",Version=v") is [".NETCoreApp", var text] && Version.TryParse(text, out Version? version) && version.Major <= runtimeMajor);
        return runs
            ? null
            : new(PluginProblemCode.WrongFramework, location.Id, location.File,
                $"the plugin is compiled for {metadata.TargetFramework}, the host runs .NET {runtimeMajor}.{Environment.Version.Minor}",
                $"Compile the plugin with <TargetFramework>net{runtimeMajor}.0</TargetFramework>");
    }

    private PluginProblem? CheckPrivateCopies(PluginLocation location)
    {
        string[] copies = [.. Directory.EnumerateFiles(location.Directory, "*.dll", SearchOption.AllDirectories)
            .Where(file => shared.Contains(Path.GetFileNameWithoutExtension(file)))
            .Select(file => Path.GetRelativePath(location.Directory, file))
            .Order(StringComparer.Ordinal)];
        return copies.Length == 0
            ? null
            : new(PluginProblemCode.PrivateCopy, location.Id, Path.Combine(location.Directory, copies[0]),
                $"the plugin brings its own copy of {string.Join(", ", copies)}, which it must share with the host",
                "Delete the copy; in the plugin's project, reference it with <Private>false</Private> or <ExcludeAssets>runtime</ExcludeAssets>, "
                + "or use the build files of the Vhost.Abstractions package, which do that");
    }

    private static PluginProblem? CheckContract(PluginLocation location, PluginMetadata metadata)
    {
        const int major = ContractVersion.Major;
        const int minor = ContractVersion.Minor;
        if (metadata.Contract is not { } contract)
        {
            bool refers = metadata.References.Any(reference => reference.Name == typeof(IPartFactory).Assembly.GetName().Name);
            return new(PluginProblemCode.NoContract, location.Id, location.File,
                refers
                    ? "the assembly does not say which contract it was compiled against (no PluginContract attribute)"
                    : "the assembly is not a vhostd plugin: it neither refers to Vhost.Abstractions nor has a PluginContract attribute",
                "Compile it against the Vhost.Abstractions package, whose build files add the attribute");
        }

        return Compare(location, contract, (major, minor), "contract", "Vhost.Abstractions");
    }

    /// <summary>The PCI library is shared as the contract is, and has a version of its own; only its users are asked for it.</summary>
    private PluginProblem? CheckPciContract(PluginLocation location, PluginMetadata metadata)
    {
        if (metadata.PciContract is { } wanted)
        {
            return shared.PciContract is { } offered
                ? Compare(location, wanted, offered, $"{SharedAssemblies.PciLibrary} contract", SharedAssemblies.PciLibrary)
                : new(PluginProblemCode.ContractTooNew, location.Id, location.File,
                    $"the plugin was compiled against {SharedAssemblies.PciLibrary} contract {wanted.Major}.{wanted.Minor}, and this host brings no {SharedAssemblies.PciLibrary}",
                    "Use a complete vhostd");
        }

        return metadata.References.Any(reference => reference.Name == SharedAssemblies.PciLibrary)
            ? new(PluginProblemCode.NoContract, location.Id, location.File,
                $"the assembly refers to {SharedAssemblies.PciLibrary} and does not say which version of it it was compiled against (no PciContract attribute)",
                $"Compile it against the {SharedAssemblies.PciLibrary} package, whose build files add the attribute")
            : null;
    }

    private static PluginProblem? Compare(PluginLocation location, (int Major, int Minor) plugin, (int Major, int Minor) host, string contract, string package)
    {
        string versions = $"the plugin was compiled against {contract} {plugin.Major}.{plugin.Minor}, the host offers {host.Major}.{host.Minor}";
        if (plugin.Major > host.Major || (plugin.Major == host.Major && plugin.Minor > host.Minor))
        {
            return new(PluginProblemCode.ContractTooNew, location.Id, location.File, versions,
                $"Upgrade vhostd, or compile the plugin against {package} with contract {host.Major}.{host.Minor}");
        }

        return plugin.Major == host.Major
            ? null
            : new(PluginProblemCode.ContractTooOld, location.Id, location.File, versions, $"Get a newer build of the plugin, made for {contract} {host.Major}");
    }

    private PluginProblem? CheckReferences(PluginLocation location, PluginMetadata metadata)
    {
        string[] tooNew = [.. metadata.References
            .Where(reference => shared.VersionOf(reference.Name) is { } ours && reference.Version > ours)
            .Select(reference => $"{reference.Name} {reference.Version} (the host has {shared.VersionOf(reference.Name)})")];
        return tooNew.Length == 0
            ? null
            : new(PluginProblemCode.SharedAssemblyTooNew, location.Id, location.File,
                $"the plugin was compiled against newer shared assemblies than the host's: {string.Join(", ", tooNew)}",
                "Compile the plugin with the versions that the Vhost.Abstractions package asks for");
    }
}
