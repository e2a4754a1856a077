using System.Diagnostics;
using System.Reflection;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Vhost.Abstractions;
using Vhost.ContractKit;

namespace Vhost.Bdevs.Tests;

/// <summary>Packs the contract once, into a feed of its own.</summary>
public sealed class PackedContract : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    public PackedContract()
    {
        Feed = _directory.File("feed");
        var (exitCode, output) = Dotnet(
            Root, "pack", System.IO.Path.Combine(Root, "abstractions"), "-c", "Release", "-o", Feed, "--artifacts-path", _directory.File("artifacts"));
        Assert.True(exitCode == 0, output);
    }

    /// <summary>The repository.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>Where the package lies.</summary>
    public string Feed { get; }

    /// <summary>Copies the sample plugin to a folder outside of the repository.</summary>
    /// <returns>The folder.</returns>
    public string CopySample(string name)
    {
        var target = Directory.CreateDirectory(_directory.File(name)).FullName;
        foreach (var file in Directory.GetFiles(System.IO.Path.Combine(Root, "samples", "ramdisk-plugin")))
        {
            File.Copy(file, System.IO.Path.Combine(target, System.IO.Path.GetFileName(file)));
        }

        Directory.CreateDirectory(System.IO.Path.Combine(target, "feed"));
        foreach (var package in Directory.GetFiles(Feed))
        {
            File.Copy(package, System.IO.Path.Combine(target, "feed", System.IO.Path.GetFileName(package)));
        }

        return target;
    }

    /// <summary>Runs the SDK; nothing of it stays behind.</summary>
    public static (int ExitCode, string Output) Dotnet(string folder, params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet", [.. arguments, "-nologo", "-nodeReuse:false", "-p:UseSharedCompilation=false"])
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var variable in start.Environment.Keys.Where(key => key.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase)).ToArray())
        {
            start.Environment.Remove(variable); // of the SDK that may be running these tests
        }

        using var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEndAsync();
        Assert.True(process.WaitForExit(TimeSpan.FromMinutes(4)), "dotnet hangs");
        return (process.ExitCode, output.Result + error.Result);
    }

    public void Dispose() => _directory.Dispose();

    private static string FindRoot()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(System.IO.Path.Combine(folder, "Plugins.sln")))
        {
            folder = System.IO.Path.GetDirectoryName(folder) ?? throw new InvalidOperationException("Plugins.sln is in no folder above the tests");
        }

        return folder;
    }
}

/// <summary>A plugin from elsewhere: compiled against the package alone, outside of the tree.</summary>
public sealed class DropInTests(PackedContract contract) : IClassFixture<PackedContract>
{
    private static readonly string Targets = Path.Combine(PackedContract.Root, "abstractions", "build", "Vhost.Abstractions.targets");

    [Fact]
    public async Task TheSampleBuildsFromThePackageAndItsOutputIsItsOwn()
    {
        var folder = contract.CopySample("sample");
        var (exitCode, output) = PackedContract.Dotnet(folder, "build", "-c", "Release");
        Assert.True(exitCode == 0, output);
        var built = Path.Combine(folder, "bin", "Release", "net10.0");
        Assert.Equal(
            ["ramdisk.deps.json", "ramdisk.dll", "ramdisk.pdb", "ramdisk.runtimeconfig.json"],
            Directory.GetFileSystemEntries(built).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.DoesNotContain("Abstractions", File.ReadAllText(Path.Combine(built, "ramdisk.deps.json")), StringComparison.Ordinal);

        var published = Path.Combine(folder, "published");
        (exitCode, output) = PackedContract.Dotnet(folder, "publish", "-c", "Release", "-o", published);
        Assert.True(exitCode == 0, output);
        Assert.Equal("ramdisk.dll", Path.GetFileName(Assert.Single(Directory.GetFiles(published, "*.dll"))));

        // It is compiled against this contract and keeps data.
        var assembly = Assembly.LoadFrom(Path.Combine(published, "ramdisk.dll"));
        var version = assembly.GetCustomAttribute<PluginContractAttribute>()!;
        Assert.Equal((ContractVersion.Major, ContractVersion.Minor), (version.Major, version.Minor));
        var type = Assert.Single(assembly.GetExportedTypes(), exported => exported.IsAssignableTo(typeof(IBdevFactory)));
        Assert.Equal("ramdisk", type.GetCustomAttribute<ExportBdevAttribute>()!.TypeName);
        var factory = (IBdevFactory)Activator.CreateInstance(type)!;
        using var harness = BdevHarness.Start(factory, factory.CreateDefaultOptions());
        var bdev = Assert.IsType<SimpleBdev>(harness.Bdev, exactMatch: false);
        var data = new byte[1024];
        Random.Shared.NextBytes(data);
        await bdev.WriteAsync(4096, data, TestContext.Current.CancellationToken);
        var found = new byte[1024];
        await bdev.ReadAsync(4096, found, TestContext.Current.CancellationToken);
        Assert.Equal(data, found);
    }

    [Fact]
    public void APrivateCopyOfASharedAssemblyFailsTheBuild()
    {
        var folder = contract.CopySample("private-copy");
        var built = Directory.CreateDirectory(Path.Combine(folder, "bin", "Release", "net10.0")).FullName;
        File.WriteAllText(Path.Combine(built, "Vhost.Abstractions.dll"), "left over");
        var (exitCode, output) = PackedContract.Dotnet(folder, "build", "-c", "Release");
        Assert.NotEqual(0, exitCode);
        Assert.Contains("error VHOST002", output, StringComparison.Ordinal);
        Assert.Contains("Vhost.Abstractions.dll is a private copy", output, StringComparison.Ordinal);
    }

    [Fact]
    public void ANewerLineOfASharedPackageFailsTheBuild()
    {
        var folder = contract.CopySample("too-new");
        var project = Path.Combine(folder, "ramdisk.csproj");
        File.WriteAllText(
            project,
            File.ReadAllText(project).Replace(
                "</ItemGroup>",
                "<PackageReference Include=\"Microsoft.Extensions.Logging.Abstractions\" Version=\"11.0.0\" /></ItemGroup>",
                StringComparison.Ordinal));
        var (exitCode, output) = PackedContract.Dotnet(folder, "build", "-c", "Release");
        Assert.NotEqual(0, exitCode);
        Assert.Contains("error VHOST003", output, StringComparison.Ordinal);
        Assert.Contains("Abstractions 11.0.0, but vhostd shares a version below 11.0.0", output, StringComparison.Ordinal);
    }

    [Fact]
    public void ThePackagesVersionIsTheContracts()
    {
        var package = Path.GetFileName(Assert.Single(Directory.GetFiles(contract.Feed, "*.nupkg")));
        Assert.Matches($@"^Vhost\.Abstractions\.{ContractVersion.Major}\.{ContractVersion.Minor}\.[0-9]+\.nupkg$", package);
    }

    [Fact]
    public void EveryAssemblyThatTheContractMentionsIsKeptOut()
    {
        var shared = XDocument.Load(Targets).Descendants("VhostSharedAssembly").Select(item => item.Attribute("Include")!.Value).ToHashSet();
        var pending = new Queue<string>(["Vhost.Abstractions"]);
        var seen = new HashSet<string>();
        while (pending.TryDequeue(out var name))
        {
            // What lies in the runtime's own folder is shared by itself.
            if (seen.Add(name) && File.Exists(Path.Combine(AppContext.BaseDirectory, name + ".dll")))
            {
                Assert.Contains(name, shared);
                foreach (var reference in Assembly.Load(name).GetReferencedAssemblies())
                {
                    pending.Enqueue(reference.Name!);
                }
            }
        }

        Assert.Contains("Microsoft.Extensions.DependencyInjection.Abstractions", seen);
    }

    [Fact]
    public void ThePluginsOfThisTreeAreBuiltAlike()
    {
        var shared = XDocument.Load(Targets).Descendants("VhostSharedAssembly").Select(item => item.Attribute("Include")!.Value).ToHashSet();
        foreach (var type in new[] { typeof(Vhost.Plugins.Null.NullFactory), typeof(Vhost.Plugins.Malloc.MallocFactory), typeof(Vhost.Plugins.File.FileFactory) })
        {
            var id = type.Assembly.GetName().Name!;
            Assert.True(File.Exists(Path.Combine(PackedContract.Root, "plugins", id, id + ".csproj")), $"{id} is not named after its folder");
            var version = type.Assembly.GetCustomAttribute<PluginContractAttribute>()!;
            Assert.Equal((ContractVersion.Major, ContractVersion.Minor), (version.Major, version.Minor));
            var outputs = Directory.GetFiles(Path.Combine(PackedContract.Root, "plugins", id, "bin"), id + ".deps.json", SearchOption.AllDirectories);
            Assert.NotEmpty(outputs);
            foreach (var output in outputs)
            {
                Assert.All(Directory.GetFiles(Path.GetDirectoryName(output)!, "*.dll"), dll => Assert.DoesNotContain(Path.GetFileNameWithoutExtension(dll), shared));
                Assert.False(Regex.IsMatch(File.ReadAllText(output), @"Vhost\.(Abstractions|Linux)\.dll"), $"{output} names a shared assembly");
            }
        }
    }
}
