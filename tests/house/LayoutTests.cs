namespace Vhost.House.Tests;

/// <summary>Where things are.</summary>
public sealed class LayoutTests
{
    [Fact]
    public void Every_project_is_in_the_solution()
    {
        string solution = Repository.Read("Plugins.sln").Replace('\\', '/');
        // The sample is a project from elsewhere; a fixture is built by the test that loads it.
        Assert.Empty(Repository.With(".csproj")
            .Where(project => !project.StartsWith("samples/", StringComparison.Ordinal) && !project.Contains("/fixtures/", StringComparison.Ordinal))
            .Where(project => !solution.Contains($"\"{project}\"", StringComparison.Ordinal)));
    }

    [Fact]
    public void The_solution_is_in_the_classic_format() =>
        Assert.Contains("Microsoft Visual Studio Solution File, Format Version 12.00", Repository.Read("Plugins.sln"), StringComparison.Ordinal);

    [Fact]
    public void Every_plugin_has_a_manual_and_is_named_after_its_folder()
    {
        Assert.NotEmpty(Rooms.Plugins);
        foreach (string plugin in Rooms.Plugins)
        {
            string id = Path.GetFileName(plugin);
            Assert.Contains($"{plugin}/{id}.csproj", Repository.Files);
            Assert.Contains($"{plugin}/README.md", Repository.Files);
        }
    }

    [Fact]
    public void Every_test_project_is_named_after_its_area() =>
        Assert.All(
            Repository.With(".csproj").Where(project => project.StartsWith("tests/", StringComparison.Ordinal) && project.EndsWith(".Tests.csproj", StringComparison.Ordinal)),
            project => Assert.StartsWith("Vhost.", Path.GetFileName(project), StringComparison.Ordinal));

    [Fact]
    public void Links_of_the_documentation_lead_somewhere()
    {
        foreach (string page in Repository.With(".md"))
        {
            foreach (System.Text.RegularExpressions.Match link in System.Text.RegularExpressions.Regex.Matches(Repository.Read(page), @"\]\(([^)#\s:]+)(#[^)]*)?\)"))
            {
                string target = Path.GetFullPath(Path.Combine(Repository.Root, Path.GetDirectoryName(page)!, link.Groups[1].Value));
                Assert.True(Path.Exists(target), $"{page} links to {link.Groups[1].Value}, which is not there");
            }
        }
    }
}
