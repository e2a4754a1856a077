using System.Text;

namespace Vhost.Host.Loading.Tests;

/// <summary>Each way to break a plugin: named with file, reason and remedy, while a good one beside it loads.</summary>
public sealed class BrokenPluginTests
{
    [Theory]
    [InlineData("newer", PluginProblemCode.ContractTooNew, "compiled against contract 1.99, the host offers 1.0", "Upgrade vhostd")]
    [InlineData("older", PluginProblemCode.ContractTooOld, "compiled against contract 0.9, the host offers 1.0", "newer build of the plugin")]
    [InlineData("nocontract", PluginProblemCode.NoContract, "no PluginContract attribute", "Vhost.Abstractions package")]
    [InlineData("otherframework", PluginProblemCode.WrongFramework, "compiled for .NETCoreApp,Version=v99.0", "<TargetFramework>net10.0</TargetFramework>")]
    [InlineData("throwing", PluginProblemCode.CompositionFailed, "InvalidOperationException: the licence server is not there", "constructor has no side effects")]
    [InlineData("noexport", PluginProblemCode.NoExport, "Vhost.Fixtures.ForgottenFactory implements IBdevFactory but has no export attribute", "[ExportBdev(\"type\")]")]
    [InlineData("unloadable", PluginProblemCode.LoadFailed, "it wants absent 1.0.0.0, which is neither in its folder nor part of the host", "dotnet publish")]
    public void A_broken_plugin_is_named_and_the_good_one_loads(string fixture, PluginProblemCode code, string reason, string remedy)
    {
        using var folder = new PluginFolder("good", fixture);
        PluginCatalog catalog = folder.Load();

        PluginProblem problem = Assert.Single(catalog.Problems);
        Assert.Equal((code, fixture, folder.FileOf(fixture)), (problem.Code, problem.PluginId, problem.File));
        Assert.Contains(reason, problem.Reason, StringComparison.Ordinal);
        Assert.Contains(remedy, problem.Remedy, StringComparison.Ordinal);
        AssertGoodLoads(catalog);
    }

    [Fact]
    public void A_private_copy_of_a_shared_assembly_is_named_by_its_file()
    {
        using var folder = new PluginFolder("good", "privatecopy");
        PluginCatalog catalog = folder.Load();

        PluginProblem problem = Assert.Single(catalog.Problems);
        Assert.Equal(PluginProblemCode.PrivateCopy, problem.Code);
        Assert.Equal(Path.Combine(folder.Root, "privatecopy", "Vhost.Abstractions.dll"), problem.File);
        Assert.Contains("<Private>false</Private>", problem.Remedy, StringComparison.Ordinal);
        AssertGoodLoads(catalog);
    }

    [Fact]
    public void Without_its_private_copy_the_same_plugin_loads()
    {
        using var folder = new PluginFolder("privatecopy");
        File.Delete(Path.Combine(folder.Root, "privatecopy", "Vhost.Abstractions.dll"));
        PluginCatalog catalog = folder.Load();
        Assert.Empty(catalog.Problems);
        Assert.NotNull(catalog.Find(PartKind.Bdev, "privatecopy"));
    }

    [Fact]
    public void Two_types_of_the_same_name_are_both_refused_and_both_files_named()
    {
        using var folder = new PluginFolder("good", "twin-a", "twin-b");
        PluginCatalog catalog = folder.Load();

        Assert.Equal(2, catalog.Problems.Count);
        Assert.All(catalog.Problems, problem => Assert.Equal(PluginProblemCode.DuplicateType, problem.Code));
        Assert.Equal([folder.FileOf("twin-a"), folder.FileOf("twin-b")], catalog.Problems.Select(problem => problem.File).Order(StringComparer.Ordinal));
        Assert.Contains(folder.FileOf("twin-b"), catalog.Problems.Single(problem => problem.PluginId == "twin-a").Reason, StringComparison.Ordinal);
        Assert.Null(catalog.Find(PartKind.Bdev, "twin"));
        Assert.NotNull(catalog.Find(PartKind.Bdev, "lonely"));
        AssertGoodLoads(catalog);
    }

    [Fact]
    public void Two_folders_of_the_same_name_are_both_named_and_the_first_directory_wins()
    {
        using var first = new PluginFolder("good");
        using var second = new PluginFolder("good");
        PluginCatalog catalog = PluginCatalogBuilder.Load([first.Root, second.Root]);
        PluginProblem problem = Assert.Single(catalog.Problems);
        Assert.Equal((PluginProblemCode.DuplicateId, second.FileOf("good")), (problem.Code, problem.File));
        Assert.Contains(first.FileOf("good"), problem.Reason, StringComparison.Ordinal);
        Assert.Equal(first.FileOf("good"), Assert.Single(catalog.Plugins).File);
    }

    [Fact]
    public void A_folder_without_its_assembly_says_what_it_holds()
    {
        using var folder = new PluginFolder("good", "twin-b");
        File.Move(folder.FileOf("twin-b"), Path.Combine(folder.Root, "twin-b", "renamed.dll"));
        PluginCatalog catalog = folder.Load();
        PluginProblem problem = Assert.Single(catalog.Problems);
        Assert.Equal((PluginProblemCode.FileMissing, folder.FileOf("twin-b")), (problem.Code, problem.File));
        Assert.Contains("renamed.dll", problem.Reason, StringComparison.Ordinal);
        Assert.Contains("dotnet publish", problem.Remedy, StringComparison.Ordinal);
        AssertGoodLoads(catalog);
    }

    public static TheoryData<string, byte[]> Garbage()
    {
        byte[] good = File.ReadAllBytes(Path.Combine(PluginFolder.Fixtures, "good", "good.dll"));
        var random = new byte[5000];
        new Random(1).NextBytes(random);
        return new TheoryData<string, byte[]>
        {
            { "empty", [] },
            { "text", Encoding.UTF8.GetBytes("this is no assembly") },
            { "random", random },
            { "truncated", good[..(good.Length / 2)] },
            { "native", File.ReadAllBytes(Path.Combine(Path.GetDirectoryName(typeof(object).Assembly.Location)!, "libSystem.Native.so")) },
        };
    }

    [Theory]
    [MemberData(nameof(Garbage))]
    public void A_file_that_is_no_assembly_is_named(string id, byte[] content)
    {
        using var folder = new PluginFolder("good");
        string file = folder.AddFile(id, content);
        PluginCatalog catalog = folder.Load();
        PluginProblem problem = Assert.Single(catalog.Problems);
        Assert.Equal((PluginProblemCode.NotAnAssembly, file), (problem.Code, problem.File));
        Assert.Contains("not a .NET assembly", problem.Reason, StringComparison.Ordinal);
        Assert.NotEmpty(problem.Remedy);
        AssertGoodLoads(catalog);
    }

    [Fact]
    public void Whatever_a_damaged_assembly_does_is_named_and_contained()
    {
        byte[] good = File.ReadAllBytes(Path.Combine(PluginFolder.Fixtures, "twin-b", "twin-b.dll"));
        var random = new Random(7);
        for (int round = 0; round < 40; round++)
        {
            byte[] damaged = (byte[])good.Clone();
            for (int i = 0; i < 30; i++)
            {
                damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
            }

            using var folder = new PluginFolder("good");
            folder.AddFile("damaged", damaged);
            PluginCatalog catalog = folder.Load();
            Assert.All(catalog.Problems, problem => Assert.Equal("damaged", problem.PluginId));
            Assert.True(catalog.Problems.Count > 0 || catalog.Plugins.Count == 2, $"round {round}: the damaged plugin vanished without a word");
            AssertGoodLoads(catalog);
        }
    }

    [Fact]
    public void A_directory_in_place_of_the_assembly_is_missing()
    {
        using var folder = new PluginFolder("good");
        Directory.CreateDirectory(folder.FileOf("hollow"));
        PluginProblem problem = Assert.Single(folder.Load().Problems);
        Assert.Equal((PluginProblemCode.FileMissing, "hollow"), (problem.Code, problem.PluginId));
    }

    [Fact]
    public void A_missing_directory_of_plugins_is_named()
    {
        using var folder = new PluginFolder("good");
        string missing = Path.Combine(folder.Root, "no", "such");
        PluginCatalog catalog = PluginCatalogBuilder.Load([missing, folder.Root]);
        PluginProblem problem = Assert.Single(catalog.Problems);
        Assert.Equal((PluginProblemCode.DirectoryUnreadable, missing), (problem.Code, problem.File));
        AssertGoodLoads(catalog);
    }

    [Fact]
    public void Exports_with_impossible_metadata_are_named_one_by_one()
    {
        using var folder = new PluginFolder("good", "unlabelled");
        PluginCatalog catalog = folder.Load();
        Assert.Equal(4, catalog.Problems.Count);
        Assert.Contains(catalog.Problems, problem => problem.Reason.Contains("clashing have the key \"type\"", StringComparison.Ordinal));
        Assert.All(catalog.Problems, problem => Assert.Equal(PluginProblemCode.BadExport, problem.Code));
        Assert.Contains(catalog.Problems, problem => problem.Reason.Contains("without type name", StringComparison.Ordinal));
        Assert.Contains(catalog.Problems, problem => problem.Reason.Contains("\"Bad Name\"", StringComparison.Ordinal));
        Assert.Contains(catalog.Problems, problem => problem.Reason.Contains("contract 1.99", StringComparison.Ordinal));
        AssertGoodLoads(catalog);
    }

    [Fact]
    public void A_newer_shared_assembly_than_the_hosts_is_named_with_both_versions()
    {
        using var folder = new PluginFolder("good");
        string file = folder.AddFile("eager", SyntheticAssembly.Referring("eager", "Microsoft.Extensions.Logging.Abstractions", new Version(99, 0, 0, 0)));
        PluginCatalog catalog = folder.Load();
        PluginProblem problem = Assert.Single(catalog.Problems);
        Assert.Equal((PluginProblemCode.SharedAssemblyTooNew, file), (problem.Code, problem.File));
        Assert.Contains("Microsoft.Extensions.Logging.Abstractions 99.0.0.0 (the host has 10.", problem.Reason, StringComparison.Ordinal);
        AssertGoodLoads(catalog);
    }

    [Fact]
    public void All_broken_plugins_together_are_all_named()
    {
        string[] broken = ["newer", "older", "nocontract", "otherframework", "throwing", "noexport", "unloadable", "privatecopy"];
        using var folder = new PluginFolder(["good", .. broken]);
        PluginCatalog catalog = folder.Load();
        Assert.Equal(broken.Order(StringComparer.Ordinal), catalog.Problems.Select(problem => problem.PluginId).Order(StringComparer.Ordinal));
        AssertGoodLoads(catalog);
    }

    private static void AssertGoodLoads(PluginCatalog catalog)
    {
        LoadedPlugin good = Assert.Single(catalog.Plugins, plugin => plugin.Id == "good");
        Assert.Equal(6, good.Parts.Count);
        Assert.NotNull(catalog.Find(PartKind.Bdev, "rich"));
        Assert.NotNull(catalog.Find(PartKind.DeviceType, "sharing"));
        Assert.NotNull(catalog.Find(PartKind.Transport, "link"));
    }
}
