using System.Diagnostics;
using System.Reflection;

namespace Vhost.House.Tests;

/// <summary>The files of the repository: those that git knows and those that it would add.</summary>
internal static class Repository
{
    private static readonly Lazy<string[]> AllFiles = new(List);

    public static string Root { get; } =
        typeof(Repository).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(attribute => attribute.Key == "RepositoryRoot").Value!;

    /// <summary>Paths relative to the root, with slashes.</summary>
    public static IReadOnlyList<string> Files => AllFiles.Value;

    public static IEnumerable<string> With(params string[] extensions) => Files.Where(file => extensions.Contains(Path.GetExtension(file)));

    /// <summary>What is shipped: tests, samples and the load generator are left out.</summary>
    public static IEnumerable<string> Product(string extension) =>
        With(extension).Where(file => file.Split('/')[0] is "abstractions" or "lib" or "host" or "plugins" or "vvu-device");

    public static string Read(string file) => File.ReadAllText(Path.Combine(Root, file));

    private static string[] List()
    {
        var start = new ProcessStartInfo("git", ["-C", Root, "ls-files", "--cached", "--others", "--exclude-standard"]) { RedirectStandardOutput = true };
        using Process git = Process.Start(start)!;
        string output = git.StandardOutput.ReadToEnd();
        git.WaitForExit();
        Assert.Equal(0, git.ExitCode);
        return [.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(file => File.Exists(Path.Combine(Root, file)))];
    }
}
