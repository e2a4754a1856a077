using Vhost.Abstractions;

namespace Vhost.Host.Loading;

/// <summary>A factory that a plugin exports.</summary>
/// <param name="Kind">The kind of part.</param>
/// <param name="TypeName">The manifest's <c>type</c>.</param>
/// <param name="Factory">The factory: an <see cref="IBdevFactory"/>, <see cref="IDeviceTypeFactory"/> or <see cref="ITransportFactory"/>, as the kind says.</param>
/// <param name="PluginId">The plugin that exports it.</param>
/// <param name="PluginFile">The plugin's assembly file.</param>
public sealed record PluginPart(PartKind Kind, string TypeName, IPartFactory Factory, string PluginId, string PluginFile);
