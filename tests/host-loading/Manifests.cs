using System.Collections;
using Vhost.Host.Manifest;

namespace Vhost.Host.Loading.Tests;

/// <summary>Reads manifests that are written in a test, with the fixture "good" as the only plugin.</summary>
internal static class Manifests
{
    private static readonly Lazy<PluginCatalog> Catalog = new(() => PluginCatalogBuilder.Load([GoodOnly()]));

    public static PluginCatalog Plugins => Catalog.Value;

    /// <summary>A manifest that is valid; tests break it.</summary>
    public const string Valid =
        """
        {
          "bdevs":       { "A": { "type": "rich", "sizeMiB": 64 }, "B": { "type": "rich", "sizeMiB": 1 } },
          "transports":  { "t0": { "type": "link", "place": "here" }, "t1": { "type": "link", "place": "there" } },
          "controllers": { "vhost.0": { "type": "sharing", "transport": "t0", "targets": { "0": "A" } },
                           "vhost.1": { "type": "exclusive", "transport": "t1", "bdev": "B" } }
        }
        """;

    public static ManifestResult Read(string json, string[]? set = null, Dictionary<string, string>? environment = null, PluginCatalog? catalog = null)
    {
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, json);
            return ManifestReader.Read(new ManifestRequest(file)
            {
                Assignments = set ?? [],
                Environment = (IDictionary?)environment ?? new Dictionary<string, string>(),
                LoadPlugins = (_, _) => catalog ?? Plugins,
            });
        }
        finally
        {
            File.Delete(file);
        }
    }

    /// <summary>A manifest with these bdevs and nothing that uses them.</summary>
    public static string Bdevs(string entries) => $$"""{ "bdevs": { {{entries}} } }""";

    /// <summary>The valid manifest with entries of its sections replaced.</summary>
    public static string With(string? bdevs = null, string? transports = null, string? controllers = null) =>
        $$"""
        { "bdevs": { {{bdevs ?? "\"A\": { \"type\": \"rich\", \"sizeMiB\": 64 }"}} },
          "transports": { {{transports ?? "\"t0\": { \"type\": \"link\", \"place\": \"here\" }"}} },
          "controllers": { {{controllers ?? "\"c0\": { \"type\": \"sharing\", \"transport\": \"t0\", \"targets\": { \"0\": \"A\" } }"}} } }
        """;

    private static string GoodOnly()
    {
        string root = Directory.CreateTempSubdirectory("vhostd-good-").FullName;
        Directory.CreateSymbolicLink(Path.Combine(root, "good"), Path.Combine(PluginFolder.Fixtures, "good"));
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(root, recursive: true);
        return root;
    }
}
