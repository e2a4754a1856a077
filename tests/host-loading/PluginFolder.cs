using System.Reflection;

namespace Vhost.Host.Loading.Tests;

/// <summary>A directory of plugins, put together from fixtures, that is deleted in the end.</summary>
internal sealed class PluginFolder : IDisposable
{
    public PluginFolder(params string[] fixtures)
    {
        Root = Directory.CreateTempSubdirectory("vhostd-plugins-").FullName;
        foreach (string fixture in fixtures)
        {
            Add(fixture);
        }
    }

    public static string Fixtures { get; } = Path.Combine(AppContext.BaseDirectory, "fixtures");

    public string Root { get; }

    public static string Metadata(string key) =>
        typeof(PluginFolder).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(attribute => attribute.Key == key).Value!;

    public string Add(string fixture)
    {
        string folder = Directory.CreateDirectory(Path.Combine(Root, fixture)).FullName;
        foreach (string file in Directory.EnumerateFiles(Path.Combine(Fixtures, fixture)))
        {
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        }

        return folder;
    }

    public string AddFile(string id, byte[] content)
    {
        string file = Path.Combine(Directory.CreateDirectory(Path.Combine(Root, id)).FullName, id + ".dll");
        File.WriteAllBytes(file, content);
        return file;
    }

    public string FileOf(string id) => Path.Combine(Root, id, id + ".dll");

    public PluginCatalog Load(PluginPolicy? policy = null) => PluginCatalogBuilder.Load([Root], policy);

    public void Dispose() => Directory.Delete(Root, recursive: true);
}
