namespace Vhost.Host.Loading;

/// <summary>Which plugins may be loaded.</summary>
/// <param name="StrictPermissions">Whether a plugin that others may change is refused, instead of warned about.</param>
/// <param name="Allowed">The ids that may be loaded; empty for all.</param>
/// <param name="Digests">What a plugin's folder must hold, by id: see <see cref="PluginDigest"/>.</param>
public sealed record PluginPolicy(bool StrictPermissions, IReadOnlyCollection<string> Allowed, IReadOnlyDictionary<string, string> Digests)
{
    /// <summary>Every plugin may be loaded; others that may change one are warned about.</summary>
    public static PluginPolicy Default { get; } = new(false, [], new Dictionary<string, string>());
}
