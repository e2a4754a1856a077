using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Vhost.Abstractions;
using Vhost.Host.Loading;
using Vhost.Host.Observability;

namespace Vhost.Host.Manifest;

/// <summary>
/// Reads a manifest: parses it, applies overrides, loads the plugins, checks and binds every section, and checks what refers to what.
/// Nothing starts. All faults are found in one go.
/// </summary>
public sealed partial class ManifestReader
{
    private readonly ManifestRequest _request;
    private readonly ManifestTree _tree;
    private readonly ManifestErrors _errors;
    private readonly OptionsChecker _checker;

    private ManifestReader(ManifestRequest request, ManifestTree tree)
    {
        _request = request;
        _tree = tree;
        _errors = new ManifestErrors(tree);
        _checker = new OptionsChecker(tree, _errors);
    }

    /// <summary>Reads a manifest.</summary>
    /// <param name="request">The file and what overrides it.</param>
    public static ManifestResult Read(ManifestRequest request)
    {
        try
        {
            ManifestTree tree = ManifestParser.Parse(request.Content is { } content ? Encoding.UTF8.GetBytes(content.ToJsonString()) : File.ReadAllBytes(request.FileName));
            var overrides = new ManifestOverrides(tree);
            overrides.ApplyEnvironment(request.Environment);
            foreach (string assignment in request.Assignments)
            {
                overrides.ApplyAssignment(assignment);
            }

            return new ManifestReader(request, tree).Read();
        }
        catch (ManifestSyntaxException exception)
        {
            return new ManifestResult(null, [exception.Error], [], null);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return new ManifestResult(null, [new ManifestError("", $"the manifest cannot be read: {exception.Message.TrimEnd('.')}", null, null)], [], null);
        }
    }

    /// <summary>Reads a manifest that a running host was changed to, with the plugins that it has loaded. No override applies.</summary>
    /// <param name="root">The manifest.</param>
    /// <param name="running">What runs.</param>
    internal static ManifestResult Reread(JsonObject root, BoundManifest running)
    {
        var request = new ManifestRequest(running.FileName) { LoadPlugins = (_, _) => running.Plugins };
        ManifestResult result = new ManifestReader(request, ManifestParser.Parse(System.Text.Encoding.UTF8.GetBytes(root.ToJsonString()))).Read();
        // Where it came from has not changed.
        return result with { Manifest = result.Manifest is { } bound ? bound with { PluginDirectories = running.PluginDirectories, Assignments = running.Assignments, IsOfFile = running.IsOfFile } : null };
    }

    private ManifestResult Read()
    {
        foreach ((string path, int line) in _tree.DuplicateKeys)
        {
            _errors.Add(path, $"the key occurs again in line {line}; which one counts would be a guess");
        }

        CheckSections();
        PluginsOptions plugins = BindOwn("plugins", new PluginsOptions());
        BoundReactors reactors = BindReactors(BindOwn("reactors", new ReactorsOptions()));
        string executableDirectory = AppContext.BaseDirectory;
        IReadOnlyList<string> directories = _request.PluginDirectories.Count > 0
            ? [.. _request.PluginDirectories.Select(Path.GetFullPath)]
            : [.. plugins.Directories.Select(directory => Path.GetFullPath(directory, executableDirectory))];
        PluginCatalog catalog = _request.LoadPlugins(directories, new PluginPolicy(plugins.StrictPermissions, plugins.Allow, plugins.Sha256));

        BoundRpc rpc = BindRpc(catalog);
        SecurityOptions security = BindOwn("security", new SecurityOptions());
        BoundObserve observe = BoundObserve.From(
            BindOwn(ManifestSections.ObserveKey, new ObserveOptions()),
            (key, fault) => _errors.Add($"{ManifestSections.ObserveKey}.{key}", fault));
        var parts = new PartBinder(_tree, _errors, _checker, catalog);
        var graph = new ManifestGraph(_errors, parts, reactors, _checker);
        IReadOnlyList<BoundBdevSource> bdevs = graph.BindBdevs(parts.Bind(ManifestSections.OfParts[0]));
        IReadOnlyList<BoundTransport> transports = graph.BindTransports(parts.Bind(ManifestSections.OfParts[1]));
        IReadOnlyList<BoundController> controllers = graph.BindControllers(parts.Bind(ManifestSections.OfParts[2]));
        bdevs = graph.CheckReferences(bdevs);
        var settings = BindBdevSettings(bdevs);

        BoundManifest? bound = _errors.Count > 0 ? null : new BoundManifest
        {
            FileName = _request.FileName,
            Plugins = catalog,
            Reactors = reactors,
            Bdevs = bdevs,
            Transports = transports,
            Controllers = controllers,
            Rpc = rpc,
            FiltersSystemCalls = security.SystemCallFilter,
            Observe = observe,
            BdevSettings = settings,
            PluginDirectories = directories,
            Assignments = _request.Assignments,
            IsOfFile = _request.Content is null,
            Root = _tree.Root,
        };
        return new ManifestResult(bound, _errors.Errors, _errors.Warnings, catalog);
    }

    private void CheckSections()
    {
        foreach ((string key, JsonNode? node) in _tree.Root.ToArray())
        {
            if (key == ManifestSections.SchemaKey)
            {
                continue;
            }

            if (!ManifestSections.Keys.Contains(key))
            {
                _errors.Add(key, "unknown key" + Suggestion.For(key, ManifestSections.Keys, "keys"));
            }
            else if (node is not JsonObject section)
            {
                _errors.Add(key, $"an object is expected, not {(node is null ? "null" : Describe(node))}");
                _tree.Root[key] = new JsonObject();
            }
            else if (ManifestSections.OfParts.Any(part => part.Key == key))
            {
                CheckNames(key, section);
            }
        }
    }

    private static string Describe(JsonNode node) => node.GetValueKind() switch
    {
        JsonValueKind.Array => "a list",
        JsonValueKind.String => "a string",
        JsonValueKind.Number => "a number",
        _ => "a truth value",
    };

    private void CheckNames(string key, JsonObject section)
    {
        foreach (string name in section.Select(pair => pair.Key))
        {
            if (!NamePattern().IsMatch(name))
            {
                _errors.Add(ManifestPath.Append(key, name), $"the name \"{name}\" is not made of A-Z, a-z, 0-9, '.', '_' and '-'");
            }
        }

        foreach (var group in section.Select(pair => pair.Key).GroupBy(name => name, StringComparer.OrdinalIgnoreCase).Where(group => group.Count() > 1))
        {
            _errors.Add(ManifestPath.Append(key, group.Last()), $"the names {string.Join(" and ", group.Select(name => $"\"{name}\""))} differ only in case");
        }
    }

    private TOptions BindOwn<TOptions>(string key, TOptions options, params string[] reservedKeys)
        where TOptions : class
    {
        if (_tree.Root[key] is JsonObject section && _checker.Check(section, typeof(TOptions), key, reservedKeys))
        {
            OptionsBinder.Bind(section, options, reservedKeys);
        }

        return options;
    }

    private BoundReactors BindReactors(ReactorsOptions options)
    {
        IReadOnlyList<int>? cpus = [];
        if (options.Cpumask is { } mask && !CpuMask.TryParse(mask, out cpus))
        {
            _errors.Add("reactors.cpumask", $"\"{mask}\" is not {CpuMask.Form}");
        }

        return new BoundReactors(cpus ?? [], options.Mode)
        {
            WatchdogPolicy = options.Watchdog.Policy,
            ExitAfter = TimeSpan.FromSeconds(options.Watchdog.ExitAfterSeconds),
        };
    }

    private Dictionary<string, BoundBdevSettings> BindBdevSettings(IReadOnlyList<BoundBdevSource> sources)
    {
        var settings = new Dictionary<string, BoundBdevSettings>(StringComparer.Ordinal);
        foreach ((string name, JsonNode? node) in (_tree.Root[ManifestSections.BdevSettingsKey] as JsonObject)?.ToArray() ?? [])
        {
            string path = ManifestPath.Append(ManifestSections.BdevSettingsKey, name);
            if (node is not JsonObject section)
            {
                _errors.Add(path, "an object is expected: { \"qos\": ... }");
                continue;
            }

            if (!sources.Any(source => source.Declaration.PublishedNames.Any(pattern => BdevNamePattern.Matches(pattern, name))))
            {
                _errors.Add(path, $"no source publishes a bdev \"{name}\"" + Suggestion.For(name, sources.SelectMany(source => source.Declaration.PublishedNames), "names"));
                continue;
            }

            if (!_checker.Check(section, typeof(BdevSettingsOptions), path, []))
            {
                continue;
            }

            var options = new BdevSettingsOptions();
            OptionsBinder.Bind(section, options, []);
            settings.Add(name, new BoundBdevSettings(options.ReadOnly, new Bdevs.QosLimits(options.Qos.RwIosPerSec, options.Qos.RwMbytesPerSec, options.Qos.RMbytesPerSec, options.Qos.WMbytesPerSec)));
        }

        return settings;
    }

    private BoundRpc BindRpc(PluginCatalog catalog)
    {
        RpcOptions options = BindOwn(ManifestSections.RpcKey, new RpcOptions(), ManifestSections.DefaultTransportKey);
        if (options.Socket is { } socket && (socket.Length == 0 || System.Text.Encoding.UTF8.GetByteCount(socket) > Vhost.Linux.UnixSocket.MaxPathBytes))
        {
            _errors.Add($"{ManifestSections.RpcKey}.socket", $"a path of 1 to {Vhost.Linux.UnixSocket.MaxPathBytes} bytes is expected");
        }

        if (_tree.Root[ManifestSections.RpcKey] is not JsonObject section || !section.TryGetPropertyValue(ManifestSections.DefaultTransportKey, out JsonNode? node))
        {
            return new BoundRpc(options.Socket, null);
        }

        string path = ManifestPath.Append(ManifestSections.RpcKey, ManifestSections.DefaultTransportKey);
        if (node is not JsonObject template || template[ManifestSections.TypeKey] is not JsonValue typeNode || !typeNode.TryGetValue(out string? type))
        {
            _errors.Add(path, "an object like an entry of transports is expected: { \"type\": \"vhost-user\", \"socket\": \"/var/tmp/{controller}\" }");
            return new BoundRpc(options.Socket, null);
        }

        if (catalog.Find(PartKind.Transport, type) is not { } part)
        {
            _errors.Add(path, $"there is no transport type \"{type}\"" + Suggestion.For(type, catalog.OfKind(PartKind.Transport).Select(known => known.TypeName), "types"));
            return new BoundRpc(options.Socket, null);
        }

        _checker.Check(template, part.Factory.OptionsType, path, [ManifestSections.TypeKey]);
        return new BoundRpc(options.Socket, template);
    }

    [GeneratedRegex(@"^[A-Za-z0-9._-]+\z")]
    private static partial Regex NamePattern();
}
