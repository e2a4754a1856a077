using System.Diagnostics;

namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>Where the real parts are: the directory that <c>tests/setup/install.sh</c> prepares and the published vhostd.</summary>
internal static class TestEnvironment
{
    private static readonly Lazy<string> SetUpDirectory = new(SetUp);
    private static readonly Lazy<string> PublishedDirectory = new(static () => FindOrPublish("VHOST_TEST_VHOSTD", "vhostd", "host"));
    private static readonly Lazy<string> NextPublishedDirectory = new(static () => FindOrPublish("VHOST_TEST_NEXT_VHOSTD", "vhostd", "host", "-next", Next));
    private static readonly Lazy<string> PublishedVvuDevice = new(static () => FindOrPublish("VHOST_TEST_VVU_DEVICE", "vvu-device", "vvu-device"));

    /// <summary>The top of the repository.</summary>
    public static string RepositoryRoot { get; } = FindRoot();

    /// <summary>The kernel of the guest, uncompressed.</summary>
    public static string GuestKernel => Path.Combine(SetUpDirectory.Value, "guest", "vmlinux");

    /// <summary>The initramfs of the guest.</summary>
    public static string GuestInitramfs => Path.Combine(SetUpDirectory.Value, "guest", "initramfs.cpio");

    /// <summary>The disk of the guest with systemd, for <c>guest.root=</c> on its kernel's command line; not to be written to.</summary>
    public static string SystemdDisk => Path.Combine(SetUpDirectory.Value, "systemd", "root.img");

    /// <summary>The directory that <c>dotnet publish host</c> made: that of the environment variable VHOST_TEST_VHOSTD, or made on first use.</summary>
    public static string VhostdDirectory => PublishedDirectory.Value;

    /// <summary>
    /// Another build of vhostd: that of the environment variable VHOST_TEST_NEXT_VHOSTD, or the same sources built apart and with another version, which makes other
    /// assemblies of all of them.
    /// </summary>
    public static string NextVhostdDirectory => NextPublishedDirectory.Value;

    /// <summary>The vvu-device program: in the directory of the environment variable VHOST_TEST_VVU_DEVICE, or published on first use.</summary>
    public static string VvuDevice => Path.Combine(PublishedVvuDevice.Value, "vvu-device");

    /// <summary>The path of a program that the set-up prepared, for example <c>qemu-bookworm</c>.</summary>
    public static string Tool(string name) => Path.Combine(SetUpDirectory.Value, "bin", name);

    /// <summary>Runs a program to its end and returns what it wrote to standard output; throws with all it wrote when it fails.</summary>
    public static string RunToEnd(string fileName, IEnumerable<string> arguments, TimeSpan timeout)
    {
        using var child = ChildProcess.Start(Path.GetFileName(fileName), fileName, arguments);
        if (!child.WaitForExit(timeout))
        {
            child.Kill();
            throw new EndToEndException($"{fileName} did not end within {timeout.TotalSeconds:F0} s\n{child.Diagnose()}");
        }

        return child.ExitCode == 0 ? child.StandardOutput : throw new EndToEndException($"{fileName} failed\n{child.Diagnose()}");
    }

    private static string SetUp()
    {
        string output = RunToEnd(Path.Combine(RepositoryRoot, "tests", "setup", "install.sh"), [], TimeSpan.FromMinutes(10));
        return output.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1].Trim();
    }

    private static string[] Next() =>
        ["--artifacts-path", Path.Combine(RepositoryRoot, "artifacts", "next-build"), "-p:Version=99.0.0", "-p:RunAnalyzers=false", "-p:GenerateDocumentationFile=false"];

    private static string FindOrPublish(string variable, string program, string project, string suffix = "-e2e", Func<string[]>? options = null)
    {
        if (Environment.GetEnvironmentVariable(variable) is { Length: > 0 } directory)
        {
            return File.Exists(Path.Combine(directory, program))
                ? Path.GetFullPath(directory)
                : throw new EndToEndException($"{variable} is {directory}, but there is no {program} in it");
        }

        return Publish(project, $"{program}{suffix}", options?.Invoke() ?? []);
    }

    private static string Publish(string project, string name, string[] options)
    {
        string target = Path.Combine(RepositoryRoot, "artifacts", name);
        if (Directory.Exists(target))
        {
            // Nothing of a plugin that is gone from the sources may stay.
            Directory.Delete(target, recursive: true);
        }

        RunToEnd(
            "dotnet", ["publish", Path.Combine(RepositoryRoot, project), "-c", "Release", "-o", target, "-v", "q", "-nologo", .. options], TimeSpan.FromMinutes(8));
        return target;
    }

    private static string FindRoot()
    {
        for (string? directory = AppContext.BaseDirectory; directory is not null; directory = Path.GetDirectoryName(directory))
        {
            if (File.Exists(Path.Combine(directory, "Plugins.sln")))
            {
                return directory;
            }
        }

        throw new UnreachableException($"no Plugins.sln above {AppContext.BaseDirectory}");
    }
}
