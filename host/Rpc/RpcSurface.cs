using System.Text.Json.Nodes;
using Vhost.Host.Wiring;

namespace Vhost.Host.Rpc;

/// <summary>What the methods work on.</summary>
/// <param name="Host">The running host.</param>
/// <param name="Graph">Changes it.</param>
/// <param name="Stop">Ends the process as the named signal would.</param>
internal sealed record RpcContext(VhostHost Host, LiveGraph Graph, Action<string> Stop);

/// <summary>
/// All methods, in one table: it checks calls, makes the documentation and the command line. Both generations of SPDK's names are there; a method
/// whose result changed between them is there twice.
/// </summary>
internal sealed partial class RpcSurface
{
    private readonly RpcContext? _context;
    private readonly Dictionary<string, RpcMethod> _byName = new(StringComparer.Ordinal);

    /// <summary>Makes the table.</summary>
    /// <param name="context">What the methods work on, or null for the description alone.</param>
    internal RpcSurface(RpcContext? context)
    {
        _context = context;
        Methods = [.. ProcessMethods(), .. ControllerMethods(), .. BdevMethods(), .. ObservabilityMethods()];
        foreach (var method in Methods)
        {
            _byName.Add(method.Name, method);
            foreach (var name in method.OlderNames)
            {
                _byName.Add(name, method);
            }
        }
    }

    /// <summary>The methods.</summary>
    internal IReadOnlyList<RpcMethod> Methods { get; }

    /// <summary>All names.</summary>
    internal IEnumerable<string> Names => _byName.Keys;

    private VhostHost Host => (_context ?? throw new InvalidOperationException("there is no host")).Host;

    private LiveGraph Graph => _context!.Graph;

    /// <summary>Finds a method by any of its names, or null.</summary>
    /// <param name="name">The name.</param>
    internal RpcMethod? Find(string name) => _byName.GetValueOrDefault(name);

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
