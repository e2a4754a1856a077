using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Vhost.Abstractions;
using Vhost.Host.Reactors;

namespace Vhost.Host.Manifest;

/// <summary>The keys of a manifest, and those that the host reserves within the parts' sections.</summary>
internal static class ManifestSections
{
    /// <summary>Names a JSON Schema for editors; vhostd does not read it.</summary>
    internal const string SchemaKey = "$schema";

    /// <summary>Names a part's type, in every section of a part.</summary>
    internal const string TypeKey = "type";

    /// <summary>Allows several controllers to use a bdev.</summary>
    internal const string SharedKey = "shared";

    /// <summary>Names a controller's transport.</summary>
    internal const string TransportKey = "transport";

    /// <summary>The CPUs of reactors or of a controller.</summary>
    internal const string CpumaskKey = "cpumask";

    /// <summary>The RPC server.</summary>
    internal const string RpcKey = "rpc";

    /// <summary>Metrics, health and the dashboard.</summary>
    internal const string ObserveKey = "observe";

    /// <summary>Within <see cref="RpcKey"/>: the section of a transport, made into one for each controller that is created by RPC.</summary>
    internal const string DefaultTransportKey = "defaultTransport";

    /// <summary>Stands for the controller's name in <see cref="DefaultTransportKey"/>.</summary>
    internal const string ControllerPlaceholder = "{controller}";

    /// <summary>What is set for bdevs by name, beside their sources' options.</summary>
    internal const string BdevSettingsKey = "bdevSettings";

    /// <summary>How a controller's interrupts are coalesced.</summary>
    internal const string CoalescingKey = "coalescing";

    /// <summary>Sections with options of the host's own: key and options class.</summary>
    internal static readonly IReadOnlyDictionary<string, Type> OfHost = new Dictionary<string, Type>
    {
        ["plugins"] = typeof(PluginsOptions),
        ["reactors"] = typeof(ReactorsOptions),
        [RpcKey] = typeof(RpcOptions),
        ["security"] = typeof(SecurityOptions),
        [ObserveKey] = typeof(Observability.ObserveOptions),
    };

    /// <summary>Sections that hold named parts: key, kind of part, and the reserved keys of an entry.</summary>
    internal static readonly IReadOnlyList<PartSection> OfParts =
    [
        new("bdevs", PartKind.Bdev, [TypeKey, SharedKey]),
        new("transports", PartKind.Transport, [TypeKey]),
        new("controllers", PartKind.DeviceType, [TypeKey, TransportKey, CpumaskKey, CoalescingKey]),
    ];

    /// <summary>The host's own keys in the entries of a kind.</summary>
    /// <param name="kind">The kind of part.</param>
    internal static IReadOnlyCollection<string> ReservedKeys(PartKind kind) => OfParts.First(section => section.Kind == kind).ReservedKeys;

    /// <summary>All keys of a manifest.</summary>
    internal static IEnumerable<string> Keys => [SchemaKey, .. OfHost.Keys, .. OfParts.Select(section => section.Key), BdevSettingsKey];
}

/// <summary>A section that holds named parts.</summary>
/// <param name="Key">Its key.</param>
/// <param name="Kind">The kind of part.</param>
/// <param name="ReservedKeys">The host's own keys in each entry.</param>
internal sealed record PartSection(string Key, PartKind Kind, IReadOnlyCollection<string> ReservedKeys);

/// <summary>The manifest's <c>plugins</c>.</summary>
internal sealed class PluginsOptions
{
    /// <summary>Where plugins lie.</summary>
    [Description("Directories that hold plugins, one folder each. A relative one is relative to the directory of the vhostd executable. Default: plugins.")]
    public List<string> Directories { get; set; } = ["plugins"];

    /// <summary>Whether permissions are enforced.</summary>
    [Description("Refuse a plugin that others than root and vhostd's user may change, instead of warning.")]
    public bool StrictPermissions { get; set; }

    /// <summary>Which plugins may be loaded.</summary>
    [Description("The ids of the plugins that may be loaded. Default: all that are found.")]
    public List<string> Allow { get; set; } = [];

    /// <summary>What plugins must be.</summary>
    [Description("Plugin id to the SHA-256 of all files in its folder, as vhostd plugins show prints it. A plugin with other files is refused.")]
    public Dictionary<string, string> Sha256 { get; set; } = [];
}

/// <summary>The manifest's <c>security</c>.</summary>
internal sealed class SecurityOptions
{
    /// <summary>Whether the process gives up system calls.</summary>
    [Description("Give up system calls that a server of disks never needs (running programs, mounting, kernel modules, looking into other processes), before anything is served.")]
    public bool SystemCallFilter { get; set; } = true;
}

/// <summary>The manifest's <c>reactors</c>.</summary>
internal sealed class ReactorsOptions
{
    /// <summary>The CPUs.</summary>
    [Description("The CPUs to run on, one reactor each: a mask (\"0x3\") or a list (\"[0,2-3]\"). Default: one reactor on the first CPU that the process may use.")]
    public string? Cpumask { get; set; }

    /// <summary>What reactors do when idle.</summary>
    [Description("What a reactor does without work: adaptive (spin a little, then sleep), poll (always spin), interrupt (sleep at once).")]
    public ReactorMode Mode { get; set; }

    /// <summary>What happens when a reactor is stuck.</summary>
    [Description("What happens when a reactor does not turn any more because a plugin blocks it.")]
    public WatchdogOptions Watchdog { get; set; } = new();
}

/// <summary>The manifest's <c>reactors.watchdog</c>.</summary>
internal sealed class WatchdogOptions
{
    /// <summary>The policy.</summary>
    [Description("exit (end with a failure after exitAfterSeconds, so that systemd starts vhostd again and the guests go on) or report (log it, nothing else).")]
    public WatchdogPolicy Policy { get; set; }

    /// <summary>For how long a reactor may be stuck.</summary>
    [Range(2, 86400)]
    [Description("For how many seconds a reactor may be stuck before the policy exit applies. It is named after one.")]
    public int ExitAfterSeconds { get; set; } = 30;
}

/// <summary>The manifest's <c>rpc</c>, without <see cref="ManifestSections.DefaultTransportKey"/>, whose form is its type's.</summary>
internal sealed class RpcOptions
{
    /// <summary>Where to listen.</summary>
    [Description("Path of the unix socket on which SPDK-compatible JSON-RPC is served, for its owner alone. Without it there is no RPC.")]
    public string? Socket { get; set; }
}
