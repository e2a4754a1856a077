using System.Security.Cryptography;

namespace Vhost.Crash.Tests;

/// <summary>Two published vhostd.</summary>
internal static class Builds
{
    // All that has a part in taking requests over.
    private static readonly string[] Files =
    [
        "vhostd.dll", "Vhost.Abstractions.dll", "Vhost.Linux.dll", "plugins/vhost-blk/vhost-blk.dll", "plugins/vhost-blk/Vhost.Virtio.dll", "plugins/vhost-scsi/vhost-scsi.dll",
        "plugins/vhost-scsi/Vhost.Scsi.dll", "plugins/vhost-scsi/Vhost.Virtio.dll", "plugins/vhost-user-transport/vhost-user-transport.dll",
        "plugins/vhost-user-transport/Vhost.VhostUser.dll", "plugins/file/file.dll",
    ];

    /// <summary>Two copies of one build would show nothing.</summary>
    public static void AssertDiffer(string one, string other)
    {
        foreach (string file in Files)
        {
            Assert.NotEqual(Digest(one, file), Digest(other, file));
        }
    }

    private static string Digest(string directory, string file) => Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(Path.Combine(directory, file))));
}
