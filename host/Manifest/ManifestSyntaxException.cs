namespace Vhost.Host.Manifest;

/// <summary>The file is not JSON, or an override cannot be applied: nothing more can be said about the manifest.</summary>
/// <param name="error">What is wrong.</param>
internal sealed class ManifestSyntaxException(ManifestError error) : Exception(error.Message)
{
    /// <summary>What is wrong.</summary>
    internal ManifestError Error { get; } = error;
}
