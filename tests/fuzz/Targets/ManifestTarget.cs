using System.Collections;
using System.Text;
using Vhost.Host.Manifest;

namespace Vhost.Fuzz.Tests.Targets;

/// <summary>Manifests: nearly right ones, wrong ones, and such that are no JSON. Every one is taken or refused with reasons.</summary>
internal sealed class ManifestTarget : IFuzzTarget
{
    private static readonly string[] Names =
    [
        "plugins", "directories", "strict", "reactors", "cpuMask", "mode", "bdevs", "controllers", "transports", "devices", "rpc", "socket", "defaultTransport", "type",
        "sizeMiB", "blockSize", "path", "bdev", "targets", "transport", "device", "Malloc0", "Null0", "vhost.0", "0", "1", "255", "256", "-1", "shared", "readOnly",
        "queues", "queueSize", "guest", "address", "", "a b", "MALLOC0", "$schema", "serial", "uuid",
    ];

    private static readonly string[] Strings =
        ["malloc", "null", "file", "scsi", "blk", "vhost-user", "vvu", "nvme", "Malloc0", "Null0", "/tmp/x", "64M", "64MiB", "0x3", "poll", "adaptive", "interrupt", "", "\\u0000", "\\ud800", "../..", "9e99", "-5"];

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("fuzz");
    private readonly string _file;
    private readonly string[] _plugins = [BuiltPlugins.Directory];
    private Host.Loading.PluginCatalog? _catalog;

    public ManifestTarget() => _file = Path.Combine(_directory.FullName, "m.json");

    /// <inheritdoc/>
    public ulong Run(FuzzInput input)
    {
        var text = new StringBuilder();
        if (input.Once(12))
        {
            text.Append(Encoding.Latin1.GetString(input.Bytes(200)));
        }
        else if (input.Once(3))
        {
            Value(input, text, 0, isObject: true);
        }
        else
        {
            NearlyRight(input, text);
        }

        File.WriteAllText(_file, text.ToString());
        var result = ManifestReader.Read(new ManifestRequest(_file)
        {
            Environment = new Hashtable(),
            PluginDirectories = _plugins,
            LoadPlugins = (directories, strict) => _catalog ??= Host.Loading.PluginCatalogBuilder.Load(directories, strict),
            Assignments = input.Once(6) ? [$"{input.Of(Names)}.{input.Of(Names)}={input.Of(Strings)}"] : [],
        });
        var seen = new Seen();
        foreach (var error in result.Errors)
        {
            var line = error.ToString();
            if (string.IsNullOrWhiteSpace(line))
            {
                throw new InvalidOperationException("an error without words");
            }

            seen.Add(line.Length > 40 ? line[..40] : line);
        }

        return result.Manifest is null && result.Errors.Count == 0
            ? throw new InvalidOperationException("neither a manifest nor an error")
            : seen.Value;
    }

    /// <inheritdoc/>
    public void Dispose() => _directory.Delete(recursive: true);

    private static void NearlyRight(FuzzInput input, StringBuilder text)
    {
        string Any(string right) => input.Once(10) ? Scrap(input) : right;
        text.Append("{ \"bdevs\": { \"Malloc0\": { \"type\": ").Append(Any("\"malloc\"")).Append(", ").Append(Pair(input, "\"sizeMiB\"", Any("1")))
            .Append(", ").Append(Pair(input, "\"blockSize\"", Any("512"))).Append(" } }, \"transports\": { \"guest\": { \"type\": ").Append(Any("\"vhost-user\""))
            .Append(", ").Append(Pair(input, "\"socket\"", Any("\"/tmp/x\""))).Append(" } }, \"controllers\": { \"vhost.0\": { \"type\": ").Append(Any("\"scsi\""))
            .Append(", ").Append(Pair(input, "\"transport\"", Any("\"guest\""))).Append(", \"targets\": { ").Append(Any("\"0\"")).Append(": ").Append(Any("\"Malloc0\""))
            .Append(" } } }");
        if (input.Once(3))
        {
            text.Append(", \"").Append(input.Of(Names)).Append("\": ");
            Value(input, text, 0, input.Once(2));
        }

        text.Append(input.Once(16) ? "" : "}");
    }

    private static string Pair(FuzzInput input, string name, string value) => $"{(input.Once(12) ? Scrap(input) : name)}: {value}";

    private static string Scrap(FuzzInput input)
    {
        var text = new StringBuilder();
        Value(input, text, 3, input.Once(4));
        return text.ToString();
    }

    private static void Value(FuzzInput input, StringBuilder text, int depth, bool isObject)
    {
        var kind = isObject ? 0 : input.Below(8);
        if (kind < 2 && depth < 5)
        {
            text.Append(kind == 0 ? '{' : '[');
            for (var count = input.Below(5); count > 0; count--)
            {
                if (kind == 0)
                {
                    text.Append('"').Append(input.Of(Names)).Append("\": ");
                }

                Value(input, text, depth + 1, isObject: depth < 2 && input.Once(2));
                text.Append(count > 1 && !input.Once(24) ? ", " : "");
            }

            text.Append(kind == 0 ? '}' : ']');
            return;
        }

        text.Append(kind switch
        {
            2 => "null",
            3 => "true",
            4 => $"{input.Number()}",
            5 => input.Of("1e400", "-1", "0.5", "1_000", "00", "0x10", "//", "NaN"),
            _ => $"\"{input.Of(Strings)}\"",
        });
    }
}
