using System.Text.RegularExpressions;

namespace Vhost.House.Tests;

/// <summary>Where things are.</summary>
public sealed partial class LayoutTests
{
    [Fact]
    public void Every_project_is_in_the_solution()
    {
        string solution = Repository.Read("Plugins.sln").Replace('\\', '/');
        // The sample is a project from elsewhere; a fixture is built by the test that loads it.
        string[] missing = [.. Repository.With(".csproj")
            .Where(project => !project.StartsWith("samples/", StringComparison.Ordinal) && !project.Contains("/fixtures/", StringComparison.Ordinal))
            .Where(project => !solution.Contains($"\"{project}\"", StringComparison.Ordinal))];
        Assert.True(missing.Length == 0, "not in Plugins.sln: " + string.Join(", ", missing));
    }

    [Fact]
    public void The_solution_is_in_the_classic_format() =>
        Assert.Contains("Microsoft Visual Studio Solution File, Format Version 12.00", Repository.Read("Plugins.sln"), StringComparison.Ordinal);

    [Fact]
    public void Every_plugin_has_a_manual_and_is_named_after_its_folder()
    {
        Assert.NotEmpty(Rooms.Plugins);
        string[] missing = [.. Rooms.Plugins
            .SelectMany(plugin => new[] { $"{plugin}/{Path.GetFileName(plugin)}.csproj", $"{plugin}/README.md" })
            .Except(Repository.Files)];
        Assert.True(missing.Length == 0, string.Join(", ", missing));
    }

    [Fact]
    public void Every_test_project_is_named_after_its_area() =>
        Assert.All(
            Repository.With(".csproj").Where(project => project.StartsWith("tests/", StringComparison.Ordinal) && project.EndsWith(".Tests.csproj", StringComparison.Ordinal)),
            project => Assert.StartsWith("Vhost.", Path.GetFileName(project), StringComparison.Ordinal));

    /// <summary>A core dump of a process that crashed beside the sources, for example, is easily added with all else.</summary>
    [Fact]
    public void No_file_is_larger_than_what_somebody_writes() =>
        Assert.All(Repository.Files, file => Assert.True(new FileInfo(Path.Combine(Repository.Root, file)).Length < 1 << 20, $"{file} has 1 MiB or more"));

    [Fact]
    public void Links_of_the_documentation_lead_somewhere()
    {
        var dead = new List<string>();
        foreach (string page in Repository.With(".md"))
        {
            foreach (Match link in Link().Matches(Repository.Read(page)))
            {
                string target = Path.GetFullPath(Path.Combine(Repository.Root, Path.GetDirectoryName(page)!, link.Groups[1].Value));
                if (!Path.Exists(target))
                {
                    dead.Add($"{page}: {link.Groups[1].Value}");
                }
            }
        }

        Assert.True(dead.Count == 0, string.Join(", ", dead));
    }

    [GeneratedRegex(@"\]\(([^)#\s:]+)(#[^)]*)?\)")]
    private static partial Regex Link();
}
