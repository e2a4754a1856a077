namespace Vhost.Host.Manifest;

/// <summary>Paths as messages show them: keys and indexes joined by dots.</summary>
internal static class ManifestPath
{
    /// <summary>Appends a key.</summary>
    /// <param name="path">A path, empty for the root.</param>
    /// <param name="key">A key or index.</param>
    internal static string Append(string path, string key) => path.Length == 0 ? key : path + "." + key;
}
