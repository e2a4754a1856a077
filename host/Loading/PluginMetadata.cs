using Vhost.Abstractions;

namespace Vhost.Host.Loading;

/// <summary>What an assembly file says about itself, read without running or loading anything of it.</summary>
internal sealed record PluginMetadata
{
    /// <summary>The assembly's simple name.</summary>
    public required string AssemblyName { get; init; }

    /// <summary>The informational version, or the assembly version where there is none.</summary>
    public required string Version { get; init; }

    /// <summary>The contract that the plugin was compiled against, or null where the assembly does not say so.</summary>
    public required (int Major, int Minor)? Contract { get; init; }

    /// <summary>The version of the shared PCI library that the plugin was compiled against, or null where the assembly does not say so.</summary>
    public required (int Major, int Minor)? PciContract { get; init; }

    /// <summary>The target framework's moniker, <c>.NETCoreApp,Version=v10.0</c>, or null.</summary>
    public required string? TargetFramework { get; init; }

    /// <summary>The assemblies that it refers to.</summary>
    public required IReadOnlyList<(string Name, Version Version)> References { get; init; }

    /// <summary>The parts that it exports, by its export attributes.</summary>
    public required IReadOnlyList<(PartKind Kind, string TypeName)> Exports { get; init; }
}
