using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.Appliance.Tests;

/// <summary>The disk that an appliance mounts at /app: vhostd and the tests' client, both published with their runtime, as the guest has no .NET.</summary>
internal static class ApplianceImage
{
    private const int SizeMiB = 512;

    private static readonly Lazy<string> Image = new(Make);

    /// <summary>
    /// An ext4 image, to be used read-only. The environment variable VHOST_APPLIANCE_DIR names a directory with <c>vhostd/</c> and <c>client/</c> that were published
    /// before; without it they are published on first use.
    /// </summary>
    public static string FilePath => Image.Value;

    private static string Make()
    {
        string artifacts = Path.Combine(TestEnvironment.RepositoryRoot, "artifacts");
        string content = Environment.GetEnvironmentVariable("VHOST_APPLIANCE_DIR") is { Length: > 0 } given ? Path.GetFullPath(given) : Path.Combine(artifacts, "appliance");
        if (Environment.GetEnvironmentVariable("VHOST_APPLIANCE_DIR") is not { Length: > 0 })
        {
            TestEnvironment.RunToEnd(Path.Combine(TestEnvironment.RepositoryRoot, "tests", "appliance", "publish.sh"), [content], TimeSpan.FromMinutes(8));
        }

        string image = Path.Combine(Directory.CreateDirectory(artifacts).FullName, "appliance.img");
        File.Delete(image);
        TestEnvironment.RunToEnd("mke2fs", ["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", content, image, $"{SizeMiB}M"], TimeSpan.FromMinutes(1));
        return image;
    }
}
