using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using Vhost.Abstractions;

namespace Vhost.Host.Loading;

/// <summary>
/// The assemblies of which host and plugins must use the same copy, because their types cross the boundary: the contract and what it
/// refers to, and the PCI library with the system calls below it, as a process has one DMA domain. Assemblies of the .NET runtime are shared anyhow.
/// </summary>
internal sealed class SharedAssemblies
{
    private static readonly string[] Roots = ["Vhost.Abstractions", "Vhost.Linux", PciLibrary];

    private readonly Dictionary<string, Version> _versions;

    private SharedAssemblies(Dictionary<string, Version> versions) => _versions = versions;

    /// <summary>The shared assemblies of this process, by simple name.</summary>
    internal static SharedAssemblies OfHost { get; } = Collect();

    /// <summary>The PCI library's simple name.</summary>
    internal const string PciLibrary = "Vhost.Pci";

    /// <summary>The version of the PCI library's contract that the host offers, or null where it brings none.</summary>
    internal (int Major, int Minor)? PciContract { get; } = ReadPciContract();

    /// <summary>Simple names, by name.</summary>
    internal IEnumerable<string> Names => _versions.Keys.Order(StringComparer.Ordinal);

    /// <summary>Whether a plugin must not bring its own copy of an assembly.</summary>
    /// <param name="simpleName">The assembly's name without version.</param>
    internal bool Contains(string simpleName) => _versions.ContainsKey(simpleName);

    /// <summary>The version that the host brings, or null if the assembly is not shared.</summary>
    /// <param name="simpleName">The assembly's name without version.</param>
    internal Version? VersionOf(string simpleName) => _versions.GetValueOrDefault(simpleName);

    private static SharedAssemblies Collect()
    {
        // Read from the files beside the host rather than by loading: the list must not depend on what happened to be loaded, nor cost its load.
        string hostDirectory = Path.GetDirectoryName(typeof(IPartFactory).Assembly.Location)!;
        var versions = new Dictionary<string, Version>(StringComparer.Ordinal);
        var pending = new Queue<string>(Roots);
        while (pending.TryDequeue(out string? name))
        {
            string file = Path.Combine(hostDirectory, name + ".dll");
            if (versions.ContainsKey(name) || !File.Exists(file))
            {
                continue;
            }

            using var portable = new PEReader(File.OpenRead(file));
            MetadataReader metadata = portable.GetMetadataReader();
            versions.Add(name, metadata.GetAssemblyDefinition().Version);
            foreach (AssemblyReferenceHandle handle in metadata.AssemblyReferences)
            {
                pending.Enqueue(metadata.GetString(metadata.GetAssemblyReference(handle).Name));
            }
        }

        return new SharedAssemblies(versions);
    }

    private static (int Major, int Minor)? ReadPciContract()
    {
        string file = Path.Combine(Path.GetDirectoryName(typeof(IPartFactory).Assembly.Location)!, PciLibrary + ".dll");
        return File.Exists(file) ? PluginMetadataReader.Read(file).PciContract : null;
    }

    /// <summary>The names as the plugin loader wants them.</summary>
    internal IEnumerable<AssemblyName> AssemblyNames() => Names.Select(name => new AssemblyName(name));
}
