namespace Vhost.Pci;

/// <summary>
/// The version of what this assembly offers to plugins. The host shares one copy of it with all of them, as a process has one DMA domain; a plugin loads if
/// its major version equals the host's and its minor version is not above the host's. Within a major version the assembly only grows.
/// </summary>
public static class PciContractVersion
{
    /// <summary>Raised when an existing plugin would no longer compile or run.</summary>
    public const int Major = 1;

    /// <summary>Raised when the assembly gains something that a plugin may use.</summary>
    public const int Minor = 0;
}
