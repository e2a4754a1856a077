namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>Image files.</summary>
internal static class Disk
{
    /// <summary>Creates an image of zeroes without blocks, and returns its path.</summary>
    public static string Create(string path, int sizeMiB)
    {
        using FileStream file = File.Create(path);
        file.SetLength((long)sizeMiB << 20);
        return path;
    }
}
