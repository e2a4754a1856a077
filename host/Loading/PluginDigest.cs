using System.Security.Cryptography;
using System.Text;

namespace Vhost.Host.Loading;

/// <summary>
/// A SHA-256 of everything in a plugin's folder: its own assembly and what it brings along. It is taken over one line for each file, in the order of the bytes of
/// their names: the file's SHA-256 in small hexadecimal digits, two spaces, the name relative to the folder, a line feed, just as <c>sha256sum</c> prints it, so
/// <c>cd FOLDER; find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum</c> gives the same.
/// </summary>
internal static class PluginDigest
{
    /// <summary>Computes the digest.</summary>
    /// <param name="directory">The plugin's folder.</param>
    /// <returns>64 hexadecimal digits.</returns>
    internal static string Of(string directory)
    {
        using var all = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (string name in Directory.EnumerateFiles(directory, "*", SearchOption.AllDirectories).Select(file => Path.GetRelativePath(directory, file)).Order(StringComparer.Ordinal))
        {
            using FileStream file = File.OpenRead(Path.Combine(directory, name));
            all.AppendData(Encoding.UTF8.GetBytes($"{Convert.ToHexStringLower(SHA256.HashData(file))}  {name}\n"));
        }

        return Convert.ToHexStringLower(all.GetHashAndReset());
    }
}
