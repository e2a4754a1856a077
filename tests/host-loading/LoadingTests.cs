using System.Runtime.Loader;

namespace Vhost.Host.Loading.Tests;

public sealed class LoadingTests
{
    [Fact]
    public void A_good_plugin_tells_its_id_file_versions_and_types()
    {
        using var folder = new PluginFolder("good");
        PluginCatalog catalog = folder.Load();
        Assert.Empty(catalog.Problems);
        LoadedPlugin plugin = Assert.Single(catalog.Plugins);
        Assert.Equal(("good", folder.FileOf("good"), ContractVersion.Major, ContractVersion.Minor), (plugin.Id, plugin.File, plugin.ContractMajor, plugin.ContractMinor));
        Assert.StartsWith("0.1.0", plugin.Version, StringComparison.Ordinal);
        Assert.Equal(["many", "rich", "wrap"], catalog.OfKind(PartKind.Bdev).Select(part => part.TypeName));
        Assert.Equal(["exclusive", "sharing"], catalog.OfKind(PartKind.DeviceType).Select(part => part.TypeName));
        Assert.Equal(["link"], catalog.OfKind(PartKind.Transport).Select(part => part.TypeName));
    }

    [Fact]
    public void Each_plugin_has_a_load_context_that_is_not_collectible_and_shares_the_contract()
    {
        using var folder = new PluginFolder("good", "twin-b");
        PluginCatalog catalog = folder.Load();
        AssemblyLoadContext[] contexts = [.. catalog.Plugins.Select(plugin => AssemblyLoadContext.GetLoadContext(plugin.Parts[0].Factory.GetType().Assembly)!)];
        Assert.Equal(2, contexts.Distinct().Count());
        Assert.All(contexts, context =>
        {
            Assert.NotSame(AssemblyLoadContext.Default, context);
            Assert.False(context.IsCollectible);
            Assert.DoesNotContain(context.Assemblies, assembly => SharedAssemblies.OfHost.Contains(assembly.GetName().Name!));
        });
    }

    [Fact]
    public void The_shared_assemblies_are_those_that_the_contracts_build_files_keep_out_of_plugins()
    {
        string targets = File.ReadAllText(Path.Combine(PluginFolder.Metadata("RepositoryRoot"), "abstractions", "build", "Vhost.Abstractions.targets"));
        string[] excluded = [.. System.Xml.Linq.XDocument.Parse(targets).Descendants("VhostSharedAssembly").Select(item => item.Attribute("Include")?.Value).OfType<string>()];
        Assert.Contains("Vhost.Abstractions", SharedAssemblies.OfHost.Names);
        Assert.Contains("System.Composition.AttributedModel", SharedAssemblies.OfHost.Names);
        Assert.Empty(SharedAssemblies.OfHost.Names.Except(excluded));
    }

    [Fact]
    public void Folders_for_tools_and_plain_files_are_passed_over()
    {
        using var folder = new PluginFolder("good");
        Directory.CreateDirectory(Path.Combine(folder.Root, ".git"));
        File.WriteAllText(Path.Combine(folder.Root, "README.md"), "plugins live here");
        Assert.Empty(folder.Load().Problems);
    }

    [Theory]
    [InlineData(0u, 0u, UnixFileMode.GroupWrite, null)]
    [InlineData(1000u, 1000u, UnixFileMode.GroupWrite, null)]
    [InlineData(1000u, 100u, UnixFileMode.GroupWrite, "its group 100 may write it")]
    [InlineData(0u, 100u, UnixFileMode.GroupWrite, "its group 100 may write it")]
    [InlineData(0u, 0u, UnixFileMode.OtherWrite, "everybody may write it")]
    [InlineData(0u, 0u, UnixFileMode.OtherWrite | UnixFileMode.StickyBit, null)]
    [InlineData(1001u, 1000u, UnixFileMode.UserWrite, "it belongs to user 1001")]
    public void Who_else_may_write_is_seen_in_owner_group_and_mode(uint owner, uint group, UnixFileMode mode, string? fault)
    {
        var status = new Linux.FileStatus(0, 1, 0, 0, Linux.FileKind.Directory, 4096, 0) { OwnerUserId = owner, OwnerGroupId = group, Permissions = mode };
        Assert.Equal(fault, PluginTrust.FaultOf(status, 1000));
    }

    [Fact]
    public void A_plugin_that_others_may_change_is_warned_about_or_refused()
    {
        using var folder = new PluginFolder("good");
        string file = folder.FileOf("good");
        File.SetUnixFileMode(file, File.GetUnixFileMode(file) | UnixFileMode.OtherWrite);

        PluginCatalog lenient = folder.Load();
        PluginProblem warning = Assert.Single(lenient.Problems, problem => problem.File == file);
        Assert.Equal(PluginProblemCode.Untrusted, warning.Code);
        Assert.True(warning.IsWarning);
        Assert.Contains("everybody may write it", warning.Reason, StringComparison.Ordinal);
        Assert.Single(lenient.Plugins);

        PluginCatalog strict = folder.Load(PluginPolicy.Default with { StrictPermissions = true });
        Assert.False(Assert.Single(strict.Problems, problem => problem.File == file).IsWarning);
        Assert.Empty(strict.Plugins);
    }

    [Fact]
    public void A_writable_folder_behind_a_link_is_found()
    {
        using var elsewhere = new PluginFolder("good");
        using var folder = new PluginFolder();
        string target = Path.Combine(elsewhere.Root, "good");
        File.SetUnixFileMode(target, File.GetUnixFileMode(target) | UnixFileMode.OtherWrite);
        Directory.CreateSymbolicLink(Path.Combine(folder.Root, "good"), target);
        PluginCatalog catalog = folder.Load();
        Assert.Contains(catalog.Problems, problem => problem is { Code: PluginProblemCode.Untrusted, IsWarning: true });
        Assert.Single(catalog.Plugins);
    }
}
