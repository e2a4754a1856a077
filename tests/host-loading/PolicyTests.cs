using System.Diagnostics;

namespace Vhost.Host.Loading.Tests;

/// <summary>Which plugins may be loaded: a list of ids, and the SHA-256 of what must be in their folders.</summary>
public sealed class PolicyTests
{
    [Fact]
    public void Only_plugins_of_the_list_are_loaded_and_others_are_named()
    {
        using var folder = new PluginFolder("good", "twin-a");
        PluginCatalog catalog = folder.Load(PluginPolicy.Default with { Allowed = ["good"] });
        Assert.Equal("good", Assert.Single(catalog.Plugins).Id);
        PluginProblem problem = Assert.Single(catalog.Problems, found => found.Code == PluginProblemCode.NotAllowed);
        Assert.Equal("twin-a", problem.PluginId);
        Assert.True(problem.IsWarning);
        Assert.Contains("plugins.allow", problem.Remedy, StringComparison.Ordinal);
    }

    [Fact]
    public void A_plugin_with_the_right_digest_is_loaded_and_one_with_a_changed_file_is_refused()
    {
        using var folder = new PluginFolder("good");
        string digest = PluginDigest.Of(Path.Combine(folder.Root, "good"));
        PluginPolicy policy = PluginPolicy.Default with { Digests = new Dictionary<string, string> { ["good"] = digest.ToUpperInvariant() } };
        Assert.Single(folder.Load(policy).Plugins);

        // Anything in the folder counts, not the plugin's own file alone.
        File.WriteAllText(Path.Combine(folder.Root, "good", "more.dll"), "");
        PluginCatalog catalog = folder.Load(policy);
        Assert.Empty(catalog.Plugins);
        PluginProblem problem = Assert.Single(catalog.Problems, found => found.Code == PluginProblemCode.DigestMismatch);
        Assert.False(problem.IsWarning);
        Assert.Contains(PluginDigest.Of(Path.Combine(folder.Root, "good")), problem.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void A_digest_of_a_plugin_that_is_not_there_is_an_error()
    {
        using var folder = new PluginFolder("good");
        PluginCatalog catalog = folder.Load(PluginPolicy.Default with { Digests = new Dictionary<string, string> { ["gone"] = "00" } });
        Assert.False(Assert.Single(catalog.Problems, found => found.PluginId == "gone").IsWarning);
        Assert.Single(catalog.Plugins);
    }

    [Fact]
    public void The_digest_is_what_a_shell_computes()
    {
        using var folder = new PluginFolder("good");
        string directory = Path.Combine(folder.Root, "good");
        Directory.CreateDirectory(Path.Combine(directory, "sub"));
        File.WriteAllText(Path.Combine(directory, "sub", "B.txt"), "b");
        File.WriteAllText(Path.Combine(directory, "sub.txt"), "s");
        using Process shell = Process.Start(new ProcessStartInfo("sh", ["-c", "find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"])
        {
            WorkingDirectory = directory, RedirectStandardOutput = true,
        })!;
        Assert.Equal($"{PluginDigest.Of(directory)}  -", shell.StandardOutput.ReadToEnd().TrimEnd());
        shell.WaitForExit();
    }
}
