using Vhost.Abstractions;
using Vhost.Host.Bdevs;
using Vhost.Host.Manifest;
using Vhost.Host.Reactors;

namespace Vhost.Host.Wiring;

/// <summary>Where the host stands.</summary>
public enum HostState
{
    /// <summary>Made, not started.</summary>
    Created,

    /// <summary>Starting.</summary>
    Starting,

    /// <summary>All parts run.</summary>
    Running,

    /// <summary>Stopping.</summary>
    Stopping,

    /// <summary>Stopped; it cannot be started again.</summary>
    Stopped,
}

/// <summary>A snapshot of the graph.</summary>
/// <param name="State">Where the host stands.</param>
/// <param name="Reactors">The reactors.</param>
/// <param name="BdevSources">The bdev sources, in starting order.</param>
/// <param name="Bdevs">The ports that somebody uses or publishes to, by name.</param>
/// <param name="Controllers">The controllers.</param>
public sealed record HostStatus(
    HostState State,
    IReadOnlyList<ReactorStatus> Reactors,
    IReadOnlyList<BdevSourceStatus> BdevSources,
    IReadOnlyList<BdevStatus> Bdevs,
    IReadOnlyList<ControllerStatus> Controllers);

/// <summary>A reactor.</summary>
/// <param name="Id">Its index.</param>
/// <param name="CpuIndex">The CPU that it is pinned to.</param>
/// <param name="Health">Whether it turns.</param>
/// <param name="Statistics">Its counters.</param>
public sealed record ReactorStatus(int Id, int CpuIndex, ReactorHealth Health, ReactorStatistics Statistics);

/// <summary>A bdev source.</summary>
/// <param name="Name">Its name.</param>
/// <param name="TypeName">Its type.</param>
/// <param name="PublishedNames">What it declared to publish.</param>
public sealed record BdevSourceStatus(string Name, string TypeName, IReadOnlyList<string> PublishedNames);

/// <summary>A bdev.</summary>
/// <param name="Name">Its name.</param>
/// <param name="State">Whether it is there.</param>
/// <param name="SourceName">Who published it, or null.</param>
/// <param name="Info">What it is, with what the host emulates; null while it is not there.</param>
/// <param name="Statistics">What was done with it.</param>
public sealed record BdevStatus(string Name, BdevPortState State, string? SourceName, BdevInfo? Info, BdevStatistics Statistics)
{
    /// <summary>What its plugin says beyond the contract, by name; empty if nothing.</summary>
    public IReadOnlyDictionary<string, string> Details { get; init; } = new Dictionary<string, string>();

    /// <summary>Its limits.</summary>
    public QosLimits Qos { get; init; } = QosLimits.None;

    /// <summary>Its latencies by bucket, or null while they are not counted.</summary>
    public LatencyHistogram? Latencies { get; init; }
}

/// <summary>A controller.</summary>
/// <param name="Name">Its name.</param>
/// <param name="TypeName">The device type.</param>
/// <param name="TransportName">Its transport.</param>
/// <param name="TransportTypeName">The transport's type.</param>
/// <param name="Endpoint">What the transport occupies.</param>
/// <param name="TransportState">Whether a front-end is connected, for people.</param>
/// <param name="Bdevs">The bdevs that it refers to.</param>
public sealed record ControllerStatus(
    string Name,
    string TypeName,
    string TransportName,
    string TransportTypeName,
    string Endpoint,
    string TransportState,
    IReadOnlyList<BdevReference> Bdevs)
{
    /// <summary>The CPUs whose reactors its queues may run on; empty for all.</summary>
    public IReadOnlyList<int> CpuIndexes { get; init; } = [];

    /// <summary>How its interrupts are coalesced.</summary>
    public BoundCoalescing Coalescing { get; init; } = BoundCoalescing.None;

    /// <summary>The front-end's session, or null if there is none or the device does not tell.</summary>
    public SessionStatus? Session { get; init; }

    /// <summary>What it did with its bdevs, all together.</summary>
    public BdevStatistics Statistics { get; init; } = BdevStatistics.None;

    /// <summary>Its latencies by bucket, or null while they are not counted.</summary>
    public LatencyHistogram? Latencies { get; init; }
}
