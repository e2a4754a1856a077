namespace Vhost.Abstractions;

/// <summary>
/// The version of the plugin contract. A plugin loads if its major version equals the host's and its minor version is not
/// above the host's. Within a major version the contract only grows: by default interface methods and new optional interfaces.
/// </summary>
public static class ContractVersion
{
    /// <summary>Raised when an existing plugin would no longer compile or run.</summary>
    public const int Major = 1;

    /// <summary>Raised when the contract gains something that a plugin may use.</summary>
    public const int Minor = 0;
}
