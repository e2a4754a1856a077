namespace Vhost.Host.Loading;

/// <summary>A plugin that was loaded.</summary>
/// <param name="Id">The plugin's id: the name of its folder and assembly.</param>
/// <param name="File">The assembly file.</param>
/// <param name="Version">The assembly's informational version.</param>
/// <param name="ContractMajor">Major version of the contract that it was compiled against.</param>
/// <param name="ContractMinor">Minor version of the contract that it was compiled against.</param>
/// <param name="Parts">What it exports.</param>
public sealed record LoadedPlugin(string Id, string File, string Version, int ContractMajor, int ContractMinor, IReadOnlyList<PluginPart> Parts)
{
    /// <summary>The file at the time of loading.</summary>
    public PluginStamp Stamp { get; init; } = PluginStamp.Of(File);
}
