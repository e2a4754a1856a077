using System.Diagnostics;

namespace Vhost.Speed.Tests;

/// <summary>The published vhostd and the peer: what <c>scripts/test.sh</c> has prepared, or prepared on first use.</summary>
internal static class PublishedParts
{
    private static readonly string Root = FindRoot();
    private static readonly Lazy<string> PublishedVhostd = new(FindOrPublish);
    private static readonly Lazy<string> SetUp = new(static () => RunToEnd(Path.Combine(Root, "tests", "setup", "install.sh"))[^1]);

    /// <summary>The vhostd program.</summary>
    public static string Vhostd => PublishedVhostd.Value;

    /// <summary>The peer's program.</summary>
    public static string StorageDaemon => Path.Combine(SetUp.Value, "bin", "qemu-storage-daemon");

    private static string FindOrPublish()
    {
        if (Environment.GetEnvironmentVariable("VHOST_TEST_VHOSTD") is { Length: > 0 } directory)
        {
            return Path.Combine(Path.GetFullPath(directory), "vhostd");
        }

        var target = Path.Combine(Root, "artifacts", "vhostd-speed");
        RunToEnd("dotnet", "publish", Path.Combine(Root, "host"), "-c", "Release", "-o", target, "-v", "q", "-nologo");
        return Path.Combine(target, "vhostd");
    }

    private static string[] RunToEnd(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!;
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} failed: {output}");
        return output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
    }

    private static string FindRoot()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "Plugins.sln")))
        {
            directory = Path.GetDirectoryName(directory) ?? throw new UnreachableException("no Plugins.sln above the test program");
        }

        return directory;
    }
}
