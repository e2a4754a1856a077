using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Xml.Linq;

namespace Vhost.House.Tests;

/// <summary>The table of who may know whom, held against project files and against compiled assemblies.</summary>
public sealed class DependencyTests
{
    /// <summary>Packages of the rooms that plugins load beside each other: each is locked to one version for all.</summary>
    private static readonly string[] ContractPackages =
        ["System.Composition.AttributedModel", "Microsoft.Extensions.Logging.Abstractions", "Microsoft.CodeAnalysis.PublicApiAnalyzers"];

    public static TheoryData<string> Projects() => [.. Repository.With(".csproj")];

    [Theory]
    [MemberData(nameof(Projects))]
    public void A_project_refers_to_what_its_room_may_know(string project)
    {
        if (Rooms.Allowed(project) is not { } allowed)
        {
            return;
        }

        foreach (string reference in References(project))
        {
            Assert.True(allowed.Contains(reference), $"{project} refers to {reference}; its room may know: {string.Join(", ", allowed)}");
        }
    }

    [Fact]
    public void An_assembly_refers_to_what_its_room_may_know()
    {
        int looked = 0;
        foreach (string project in Repository.With(".csproj"))
        {
            if (Rooms.Allowed(project) is not { } allowed || NewestAssembly(project) is not { } assembly)
            {
                continue;
            }

            looked++;
            foreach (string reference in AssemblyReferences(assembly))
            {
                string? room = Rooms.RoomOfAssembly(reference);
                bool known = room is null || (Rooms.RoomOf(project) == "host" ? room is "abstractions" or "lib/linux" or "lib/pci" : allowed.Contains(room));
                Assert.True(known, $"{assembly} refers to {reference}; its room may know: {string.Join(", ", allowed)}");
            }
        }

        Assert.True(looked > 0, "no assembly has been built; build the solution first");
    }

    [Fact]
    public void The_contract_brings_no_packages_but_those_that_its_signatures_need()
    {
        string[] packages = Packages("abstractions/Vhost.Abstractions.csproj");
        Assert.NotEmpty(packages);
        Assert.Empty(packages.Except(ContractPackages));
    }

    [Fact]
    public void Shared_libraries_bring_no_packages()
    {
        foreach (string project in Repository.With(".csproj").Where(project => Rooms.RoomOf(project) is "lib/linux" or "lib/vfio-user" or "lib/pci"))
        {
            Assert.Empty(Packages(project).Except(["Microsoft.CodeAnalysis.PublicApiAnalyzers"]));
        }
    }

    [Fact]
    public void Plugins_are_built_with_the_host_but_not_referenced_by_it()
    {
        XElement plugins = Assert.Single(Items("host/vhostd.csproj", "ProjectReference"), item => item.Attribute("Include")!.Value.Contains("plugins", StringComparison.Ordinal));
        Assert.Equal("false", plugins.Attribute("ReferenceOutputAssembly")?.Value);
    }

    [Fact]
    public void The_host_uses_of_the_PCI_library_the_inventory_alone()
    {
        string[] inventory = ["PciInventory", "PciPaths", "PciAddress", "PciDeviceInfo", "PciProblem", "PciProblemCode"];
        string assembly = NewestAssembly("host/vhostd.csproj") ?? throw new InvalidOperationException("vhostd has not been built; build the solution first");
        using var portable = new PEReader(File.OpenRead(assembly));
        MetadataReader metadata = portable.GetMetadataReader();
        var used = metadata.TypeReferences.Select(metadata.GetTypeReference).Where(type => metadata.GetString(type.Namespace) == "Vhost.Pci").Select(type => metadata.GetString(type.Name));
        Assert.Empty(used.Except(inventory));
    }

    [Fact]
    public void Package_versions_stand_in_one_place_and_the_extensions_stay_on_the_10_line()
    {
        foreach (string project in Repository.With(".csproj").Where(project => !project.StartsWith("samples/", StringComparison.Ordinal)))
        {
            Assert.All(Items(project, "PackageReference"), item => Assert.Null(item.Attribute("Version")));
        }

        string versions = Repository.Read("Directory.Packages.props");
        Assert.Matches(@"<ExtensionsVersion>10\.0\.\d+</ExtensionsVersion>", versions);
        foreach (XElement package in XDocument.Parse(versions).Descendants("PackageVersion"))
        {
            string name = package.Attribute("Include")!.Value;
            if (name.StartsWith("Microsoft.Extensions.", StringComparison.Ordinal) || name.StartsWith("System.Composition", StringComparison.Ordinal))
            {
                Assert.Equal("$(ExtensionsVersion)", package.Attribute("Version")!.Value);
            }
        }
    }

    private static IEnumerable<string> References(string project)
    {
        string directory = Path.Combine(Repository.Root, Path.GetDirectoryName(project)!);
        foreach (XElement item in Items(project, "ProjectReference"))
        {
            string include = item.Attribute("Include")?.Value.Replace("$(RepositoryRoot)", Repository.Root, StringComparison.Ordinal) ?? "";
            if (include.Length == 0 || include.Contains('*', StringComparison.Ordinal) || include.StartsWith('@'))
            {
                continue;
            }

            yield return Path.GetRelativePath(Repository.Root, Path.GetDirectoryName(Path.GetFullPath(include, directory))!);
        }
    }

    private static IEnumerable<XElement> Items(string project, string name) =>
        XDocument.Parse(Repository.Read(project)).Descendants(name).Where(item => item.Attribute("Include") is not null);

    private static string[] Packages(string project) => [.. Items(project, "PackageReference").Select(item => item.Attribute("Include")!.Value)];

    private static string? NewestAssembly(string project)
    {
        string name = Path.GetFileNameWithoutExtension(project) + ".dll";
        string bin = Path.Combine(Repository.Root, Path.GetDirectoryName(project)!, "bin");
        return !Directory.Exists(bin) ? null : Directory.EnumerateFiles(bin, name, SearchOption.AllDirectories)
            .Where(file => !file.Contains("/plugins/" + Path.GetFileNameWithoutExtension(name) + "/bin/plugins/", StringComparison.Ordinal))
            .OrderByDescending(File.GetLastWriteTimeUtc).FirstOrDefault();
    }

    private static IEnumerable<string> AssemblyReferences(string file)
    {
        using var portable = new PEReader(File.OpenRead(file));
        MetadataReader metadata = portable.GetMetadataReader();
        return [.. metadata.AssemblyReferences.Select(handle => metadata.GetString(metadata.GetAssemblyReference(handle).Name))];
    }
}
