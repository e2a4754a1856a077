using System.Text.Json.Nodes;
using Vhost.Abstractions;
using Vhost.Host.Loading;
using Vhost.Host.Observability;
using Vhost.Host.Reactors;

namespace Vhost.Host.Manifest;

/// <summary>
/// A manifest that was read, checked and bound: every type is known, every value valid, every reference leads somewhere. Immutable (the
/// options objects belong to the parts).
/// </summary>
public sealed record BoundManifest
{
    /// <summary>The manifest file, for messages.</summary>
    public required string FileName { get; init; }

    /// <summary>The plugins that serve it.</summary>
    public required PluginCatalog Plugins { get; init; }

    /// <summary>The reactors.</summary>
    public required BoundReactors Reactors { get; init; }

    /// <summary>The sources of bdevs, in starting order: what a wrapper builds on comes before the wrapper.</summary>
    public required IReadOnlyList<BoundBdevSource> Bdevs { get; init; }

    /// <summary>The transports, in the manifest's order.</summary>
    public required IReadOnlyList<BoundTransport> Transports { get; init; }

    /// <summary>The controllers, in the manifest's order. Each transport belongs to exactly one.</summary>
    public required IReadOnlyList<BoundController> Controllers { get; init; }

    /// <summary>What is set for bdevs, by name.</summary>
    public IReadOnlyDictionary<string, BoundBdevSettings> BdevSettings { get; init; } = new Dictionary<string, BoundBdevSettings>();

    /// <summary>The RPC server.</summary>
    public BoundRpc Rpc { get; init; } = new(null, null);

    /// <summary>Whether the process gives up system calls that it never needs.</summary>
    public bool FiltersSystemCalls { get; init; } = true;

    /// <summary>Metrics, health and the dashboard.</summary>
    public BoundObserve Observe { get; init; } = BoundObserve.None;

    /// <summary>Where plugins were looked for, absolute.</summary>
    public IReadOnlyList<string> PluginDirectories { get; init; } = [];

    /// <summary>Overrides of the command line, which a later reading has to make again.</summary>
    public IReadOnlyList<string> Assignments { get; init; } = [];

    /// <summary>Whether <see cref="FileName"/> is a file, and not only what messages call it.</summary>
    public bool IsOfFile { get; init; } = true;

    /// <summary>The manifest itself, with its overrides: what is bound here, as JSON. Not to be changed.</summary>
    internal JsonObject Root { get; init; } = [];
}

/// <summary>The manifest's <c>rpc</c>.</summary>
/// <param name="SocketPath">Where the RPC server listens, or null for nowhere.</param>
/// <param name="DefaultTransport">
/// The section of the transport of a controller that is created by RPC, in which <c>{controller}</c> stands for the controller's name; or null.
/// </param>
public sealed record BoundRpc(string? SocketPath, JsonObject? DefaultTransport);

/// <summary>The manifest's <c>reactors</c>.</summary>
/// <param name="CpuIndexes">One reactor for each CPU, ascending; empty for the default: one reactor on the first CPU that the process may use.</param>
/// <param name="Mode">What they do when idle.</param>
public sealed record BoundReactors(IReadOnlyList<int> CpuIndexes, ReactorMode Mode)
{
    /// <summary>What happens when a reactor is stuck.</summary>
    public WatchdogPolicy WatchdogPolicy { get; init; }

    /// <summary>How long a reactor may be stuck before <see cref="WatchdogPolicy.Exit"/> applies.</summary>
    public TimeSpan ExitAfter { get; init; } = TimeSpan.FromSeconds(30);
}

/// <summary>One entry of the manifest's <c>bdevs</c>.</summary>
/// <param name="Name">The source's name.</param>
/// <param name="TypeName">The entry's <c>type</c>.</param>
/// <param name="Factory">Creates the source.</param>
/// <param name="Options">Bound and validated options for the factory.</param>
/// <param name="Declaration">What the source may publish and what it builds on.</param>
/// <param name="IsShared">Whether several controllers may use its bdevs.</param>
public sealed record BoundBdevSource(string Name, string TypeName, IBdevFactory Factory, object Options, BdevDeclaration Declaration, bool IsShared);

/// <summary>One entry of the manifest's <c>transports</c>.</summary>
/// <param name="Name">The transport's name.</param>
/// <param name="TypeName">The entry's <c>type</c>.</param>
/// <param name="Factory">Creates the transport.</param>
/// <param name="Options">Bound and validated options for the factory.</param>
/// <param name="Endpoint">What the transport occupies alone.</param>
public sealed record BoundTransport(string Name, string TypeName, ITransportFactory Factory, object Options, string Endpoint);

/// <summary>One entry of the manifest's <c>controllers</c>.</summary>
/// <param name="Name">The controller's name.</param>
/// <param name="TypeName">The entry's <c>type</c>.</param>
/// <param name="Factory">Creates the device.</param>
/// <param name="Options">Bound and validated options for the factory.</param>
/// <param name="TransportName">The transport that serves the device.</param>
/// <param name="BdevReferences">The bdevs that it uses.</param>
/// <param name="CpuIndexes">The CPUs whose reactors its queues may run on, ascending; empty for all.</param>
public sealed record BoundController(
    string Name,
    string TypeName,
    IDeviceTypeFactory Factory,
    object Options,
    string TransportName,
    IReadOnlyList<BdevReference> BdevReferences,
    IReadOnlyList<int> CpuIndexes)
{
    /// <summary>How interrupts are coalesced.</summary>
    public BoundCoalescing Coalescing { get; init; } = BoundCoalescing.None;
}

/// <summary>A controller's <c>coalescing</c>.</summary>
/// <param name="DelayBase">How long an interrupt waits at twice the threshold; zero for never.</param>
/// <param name="IopsThreshold">Requests in a second up to which none waits.</param>
public sealed record BoundCoalescing(TimeSpan DelayBase, int IopsThreshold)
{
    /// <summary>No interrupt waits.</summary>
    public static BoundCoalescing None { get; } = new(TimeSpan.Zero, 60000);
}

/// <summary>An entry of the manifest's <c>bdevSettings</c>.</summary>
/// <param name="IsReadOnly">Whether writes are refused.</param>
/// <param name="Qos">The limits.</param>
public sealed record BoundBdevSettings(bool IsReadOnly, Bdevs.QosLimits Qos);
