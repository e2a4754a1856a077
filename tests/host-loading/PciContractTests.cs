namespace Vhost.Host.Loading.Tests;

/// <summary>The version of the shared PCI library that a plugin was compiled against is checked before any of its code runs.</summary>
public sealed class PciContractTests
{
    [Theory]
    [InlineData(1, 99, PluginProblemCode.ContractTooNew, "compiled against Vhost.Pci contract 1.99, the host offers 1.0", "Upgrade vhostd, or compile the plugin against Vhost.Pci")]
    [InlineData(2, 0, PluginProblemCode.ContractTooNew, "compiled against Vhost.Pci contract 2.0, the host offers 1.0", "Upgrade vhostd")]
    [InlineData(0, 9, PluginProblemCode.ContractTooOld, "compiled against Vhost.Pci contract 0.9, the host offers 1.0", "made for Vhost.Pci contract 1")]
    public void A_plugin_for_another_PCI_library_is_named(int major, int minor, PluginProblemCode code, string reason, string remedy) =>
        AssertRefused((major, minor), code, reason, remedy);

    [Fact]
    public void A_plugin_that_uses_the_PCI_library_and_does_not_say_which_is_named() =>
        AssertRefused(null, PluginProblemCode.NoContract, "no PciContract attribute", "against the Vhost.Pci package");

    [Fact]
    public void The_version_of_the_host_is_read_from_its_file() => Assert.Equal((1, 0), SharedAssemblies.OfHost.PciContract);

    [Theory]
    [InlineData("nvme", true)]
    [InlineData("virtio-scsi", true)]
    [InlineData("vvu-transport", true)]
    [InlineData("malloc", false)]
    public void The_build_files_write_it_into_the_plugins_that_use_the_library(string id, bool isUser)
    {
        string plugins = Path.Combine(Path.GetDirectoryName(PluginFolder.Metadata("VhostdExecutable"))!, "plugins");
        PluginMetadata metadata = PluginMetadataReader.Read(Path.Combine(plugins, id, id + ".dll"));
        Assert.Equal(isUser ? (1, 0) : null, metadata.PciContract);
    }

    private static void AssertRefused((int Major, int Minor)? version, PluginProblemCode code, string reason, string remedy)
    {
        using var folder = new PluginFolder("good");
        string file = folder.AddFile("driver", SyntheticAssembly.Referring("driver", "Vhost.Pci", new Version(1, 0, 0, 0), version));
        PluginCatalog catalog = folder.Load();
        PluginProblem problem = Assert.Single(catalog.Problems);
        Assert.Equal((code, "driver", file), (problem.Code, problem.PluginId, problem.File));
        Assert.Contains(reason, problem.Reason, StringComparison.Ordinal);
        Assert.Contains(remedy, problem.Remedy, StringComparison.Ordinal);
        Assert.Equal("good", Assert.Single(catalog.Plugins).Id);
    }
}
