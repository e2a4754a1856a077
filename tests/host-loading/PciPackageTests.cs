using System.Diagnostics;
using System.IO.Compression;

namespace Vhost.Host.Loading.Tests;

/// <summary>A driver from elsewhere: compiled against the packages alone, outside of the tree, and loaded.</summary>
public sealed class PciPackageTests : IDisposable
{
    private static readonly string Root = PluginFolder.Metadata("RepositoryRoot");
    private readonly string _directory = Directory.CreateTempSubdirectory("vhostd-package-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void A_driver_builds_from_the_packages_brings_no_copy_and_loads()
    {
        string plugin = Directory.CreateDirectory(Path.Combine(_directory, "driver")).FullName;
        string feed = Path.Combine(plugin, "feed");
        foreach (string project in (string[])["abstractions", "lib/pci"])
        {
            Dotnet("pack", Path.Combine(Root, project), "-c", "Release", "-o", feed, "--artifacts-path", Path.Combine(_directory, "artifacts"));
        }

        string package = Assert.Single(Directory.GetFiles(feed, "Vhost.Pci.*.nupkg"));
        Assert.Matches(@"^Vhost\.Pci\.1\.0\.[0-9]+\.nupkg$", Path.GetFileName(package));
        using (ZipArchive archive = ZipFile.OpenRead(package))
        {
            string[] content = [.. archive.Entries.Select(entry => entry.FullName)];
            Assert.Equal(
                ["Vhost.Linux.dll", "Vhost.Linux.xml", "Vhost.Pci.dll", "Vhost.Pci.xml", "Vhost.VfioUser.dll", "Vhost.VfioUser.xml"],
                content.Where(name => name.StartsWith("lib/net10.0/", StringComparison.Ordinal)).Select(name => Path.GetFileName(name)).Order(StringComparer.Ordinal));
        }

        string sample = Path.Combine(Root, "samples", "ramdisk-plugin");
        foreach (string file in Directory.GetFiles(sample))
        {
            File.Copy(file, Path.Combine(plugin, Path.GetFileName(file)));
        }

        File.WriteAllText(
            Path.Combine(plugin, "driver.csproj"),
            File.ReadAllText(Path.Combine(sample, "ramdisk.csproj")).Replace(
                "</ItemGroup>", "<PackageReference Include=\"Vhost.Pci\" Version=\"1.0.0\" /></ItemGroup>", StringComparison.Ordinal));
        File.Delete(Path.Combine(plugin, "ramdisk.csproj"));
        File.WriteAllText(Path.Combine(plugin, "Driver.cs"), """
            using Microsoft.Extensions.Logging;
            using Vhost.Linux;
            using Vhost.Pci;

            namespace RamDiskPlugin;

            public static class Driver
            {
                public static IPciDevice Open(string address, ILogger logger)
                {
                    using EventFd wake = EventFd.Create();
                    return PciDeviceOpener.Shared.Open(address, logger);
                }
            }
            """);
        using var folder = new PluginFolder("good");
        string published = Path.Combine(folder.Root, "driver");
        Dotnet("publish", plugin, "-c", "Release", "-o", published);
        Assert.Equal("driver.dll", Path.GetFileName(Assert.Single(Directory.GetFiles(published, "*.dll"))));

        Assert.Equal((1, 0), PluginMetadataReader.Read(Path.Combine(published, "driver.dll")).PciContract);
        PluginCatalog catalog = folder.Load();
        Assert.Empty(catalog.Problems);
        Assert.NotNull(catalog.Find(Abstractions.PartKind.Bdev, "ramdisk"));
    }

    private static void Dotnet(params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet", [.. arguments, "-v", "q", "-nologo", "-nodeReuse:false"]) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string variable in start.Environment.Keys.Where(key => key.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase)).ToArray())
        {
            start.Environment.Remove(variable); // of the SDK that may be running these tests
        }

        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Assert.True(process.WaitForExit(TimeSpan.FromMinutes(4)), $"dotnet {arguments[0]} hangs");
        Assert.True(process.ExitCode == 0, output.Result + error.Result);
    }
}
