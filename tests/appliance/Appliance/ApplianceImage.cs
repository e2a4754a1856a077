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

    /// <summary>The vhostd that is on it, with its own runtime; there once <see cref="FilePath"/> was asked for.</summary>
    public static string VhostdDirectory => Path.Combine(Given ?? Path.Combine(Artifacts, "appliance"), "vhostd");

    private static string Artifacts => Path.Combine(TestEnvironment.RepositoryRoot, "artifacts");

    private static string? Given => Environment.GetEnvironmentVariable("VHOST_APPLIANCE_DIR") is { Length: > 0 } directory ? Path.GetFullPath(directory) : null;

    private static string Make()
    {
        string artifacts = Directory.CreateDirectory(Artifacts).FullName;
        string? given = Given;
        string content = given ?? Path.Combine(artifacts, "appliance");
        string published = Path.Combine(content, "published");
        string image = Path.Combine(artifacts, "appliance.img");
        if (given is null && !IsNewerThanSources(published))
        {
            TestEnvironment.RunToEnd(Path.Combine(TestEnvironment.RepositoryRoot, "tests", "appliance", "publish.sh"), [content], TimeSpan.FromMinutes(8));
            File.WriteAllText(published, "");
        }
        else if (given is null && File.GetLastWriteTimeUtc(image) > File.GetLastWriteTimeUtc(published))
        {
            // Another test program made it.
            return image;
        }

        File.Delete(image);
        TestEnvironment.RunToEnd("mke2fs", ["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", content, image, $"{SizeMiB}M"], TimeSpan.FromMinutes(1));
        return image;
    }

    // Publishing takes a minute or two of the two CPUs, and two test programs need the same.
    private static bool IsNewerThanSources(string stamp)
    {
        DateTime written = File.Exists(stamp) ? File.GetLastWriteTimeUtc(stamp) : DateTime.MinValue;
        string top = TestEnvironment.RepositoryRoot;
        string[] rooms = [.. new[] { "abstractions", "lib", "host", "plugins", "tests/appliance", "tests/appliance-client", "tests/crash", "tests/frontend" }.Select(r => Path.Combine(top, r))];
        return written > DateTime.MinValue && rooms.All(room => Directory.EnumerateFiles(room, "*", SearchOption.AllDirectories)
            .Where(f => !f.Contains("/bin/", StringComparison.Ordinal) && !f.Contains("/obj/", StringComparison.Ordinal))
            .Concat(Directory.EnumerateFiles(top, "*.props"))
            .All(f => File.GetLastWriteTimeUtc(f) < written));
    }
}
