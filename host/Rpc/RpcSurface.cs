using System.Text.Json.Nodes;
using Vhost.Host.Loading;
using Vhost.Host.Wiring;

namespace Vhost.Host.Rpc;

/// <summary>What the methods work on.</summary>
/// <param name="Host">The running host.</param>
/// <param name="Graph">Changes it.</param>
/// <param name="Stop">Ends the process as the named signal would.</param>
internal sealed record RpcContext(VhostHost Host, LiveGraph Graph, Action<string> Stop)
{
    /// <summary>How much is logged.</summary>
    public LogLevels Log { get; init; } = LogLevels.OfProcess;
}

/// <summary>
/// All methods, in one table: it checks calls, makes the documentation and the command line. Both generations of SPDK's names are there; a method
/// whose result changed between them is there twice.
/// </summary>
internal sealed partial class RpcSurface
{
    private readonly RpcContext? _context;
    private readonly Lock _lock = new();
    private readonly IReadOnlyList<RpcMethod> _own;
    private PluginCatalog? _catalog;
    private volatile IReadOnlyList<RpcMethod> _methods = [];
    private volatile Dictionary<string, RpcMethod> _byName = [];

    /// <summary>Makes the table.</summary>
    /// <param name="context">What the methods work on, or null for the description alone.</param>
    internal RpcSurface(RpcContext? context)
    {
        _context = context;
        _own = [.. ProcessMethods(), .. ControllerMethods(), .. BdevMethods(), .. ObservabilityMethods(), .. FrameworkMethods()];
        Set(_own);
    }

    /// <summary>The methods, with those that the loaded plugins add.</summary>
    internal IReadOnlyList<RpcMethod> Methods
    {
        get
        {
            FollowPlugins();
            return _methods;
        }
    }

    /// <summary>All names.</summary>
    internal IEnumerable<string> Names
    {
        get
        {
            FollowPlugins();
            return _byName.Keys;
        }
    }

    private VhostHost Host => (_context ?? throw new InvalidOperationException("there is no host")).Host;

    private LiveGraph Graph => _context!.Graph;

    /// <summary>Finds a method by any of its names, or null.</summary>
    /// <param name="name">The name.</param>
    internal RpcMethod? Find(string name)
    {
        FollowPlugins();
        return _byName.GetValueOrDefault(name);
    }

    /// <summary>A parameter that SPDK's clients send though they want nothing of it.</summary>
    private static RpcParameter Unused(string name, RpcType type) => new(name, type, false, "Accepted where it asks for nothing; vhostd has no such thing.") { IsUnused = true };

    private void FollowPlugins()
    {
        if (_context is null || ReferenceEquals(_context.Graph.Plugins, Volatile.Read(ref _catalog)))
        {
            return;
        }

        lock (_lock)
        {
            var catalog = _context.Graph.Plugins;
            Set([.. _own, .. PluginMethods(catalog, _own.SelectMany(method => method.OlderNames.Append(method.Name)).ToHashSet(StringComparer.Ordinal))]);
            Volatile.Write(ref _catalog, catalog);
        }
    }

    private void Set(IReadOnlyList<RpcMethod> methods)
    {
        var byName = new Dictionary<string, RpcMethod>(StringComparer.Ordinal);
        foreach (var method in methods)
        {
            foreach (var name in method.OlderNames.Append(method.Name))
            {
                byName.Add(name, method);
            }
        }

        _methods = methods;
        _byName = byName;
    }

    private static RpcParameter Required(string name, RpcType type, string description) => new(name, type, true, description);

    private static RpcParameter Optional(string name, RpcType type, string description) => new(name, type, false, description);

    private static Task<JsonNode?> Done(JsonNode node) => Task.FromResult<JsonNode?>(node);

    private static async Task<JsonNode?> True(Task work)
    {
        await work.ConfigureAwait(false);
        return true;
    }

    private static JsonArray ToJson(IEnumerable<string> names) => [.. names.Select(name => JsonValue.Create(name))];
}
