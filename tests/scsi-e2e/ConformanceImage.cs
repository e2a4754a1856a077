using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.ScsiEndToEnd.Tests;

/// <summary>The disk that brings the conformance suite into a guest, published with its runtime, as the guest has no .NET.</summary>
internal static class ConformanceImage
{
    private const int SizeMiB = 192;

    private static readonly Lazy<string> Image = new(Make);

    /// <summary>
    /// An ext4 image, to be used read-only. The environment variable VHOST_SCSI_CONFORMANCE_DIR names a directory that the suite was published to before; without it
    /// it is published on first use.
    /// </summary>
    public static string FilePath => Image.Value;

    private static string Make()
    {
        string artifacts = Directory.CreateDirectory(Path.Combine(TestEnvironment.RepositoryRoot, "artifacts")).FullName;
        string content = Environment.GetEnvironmentVariable("VHOST_SCSI_CONFORMANCE_DIR") is { Length: > 0 } given ? Path.GetFullPath(given) : Publish(artifacts);
        string image = Path.Combine(artifacts, "scsi-conformance.img");
        File.Delete(image);
        TestEnvironment.RunToEnd("mke2fs", ["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", content, image, $"{SizeMiB}M"], TimeSpan.FromMinutes(1));
        return image;
    }

    // Compiled ahead of time: on an emulated CPU compiling takes longer than the suite itself.
    private static string Publish(string artifacts)
    {
        string target = Path.Combine(artifacts, "scsi-conformance");
        if (Directory.Exists(target))
        {
            Directory.Delete(target, recursive: true);
        }

        TestEnvironment.RunToEnd(
            "dotnet",
            [
                "publish", Path.Combine(TestEnvironment.RepositoryRoot, "tests", "scsi-conformance"), "-c", "Release", "-r", "linux-x64", "--self-contained",
                "-p:PublishReadyToRun=true", "-o", target, "-v", "q", "-nologo",
            ],
            TimeSpan.FromMinutes(8));
        return target;
    }
}
