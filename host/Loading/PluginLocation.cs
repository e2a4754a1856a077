namespace Vhost.Host.Loading;

/// <summary>Where a plugin lies: <c>ROOT/ID/ID.dll</c>.</summary>
/// <param name="Id">The folder's name.</param>
/// <param name="Root">The directory of plugins that holds the folder.</param>
/// <param name="Directory">The plugin's folder.</param>
/// <param name="File">The plugin's assembly, which may be missing.</param>
internal sealed record PluginLocation(string Id, string Root, string Directory, string File);
