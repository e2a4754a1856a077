using System.Security.Cryptography;

namespace Vhost.VvuTopology.Tests;

/// <summary>What is in an image, outside of every virtual machine.</summary>
internal static class Contents
{
    /// <summary>The SHA-256 of a file, in lower case.</summary>
    public static string Sha256(string path)
    {
        using FileStream file = File.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(file));
    }
}
