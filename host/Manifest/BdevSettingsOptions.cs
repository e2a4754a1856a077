using System.ComponentModel;
using System.ComponentModel.DataAnnotations;

namespace Vhost.Host.Manifest;

/// <summary>An entry of the manifest's <c>bdevSettings</c>: what the host itself does with a bdev, whatever its type.</summary>
internal sealed class BdevSettingsOptions
{
    /// <summary>Write protection.</summary>
    [Description("Refuse writes, whatever the bdev itself would do.")]
    public bool ReadOnly { get; set; }

    /// <summary>Limits.</summary>
    [Description("What the bdev may do in a second, all its users together. 0 is no limit.")]
    public QosOptions Qos { get; set; } = new();
}

/// <summary>Limits of a bdev.</summary>
internal sealed class QosOptions
{
    /// <summary>Reads and writes.</summary>
    [Description("Reads and writes in a second.")]
    public ulong RwIosPerSec { get; set; }

    /// <summary>Bytes read and written.</summary>
    [Description("MiB read and written in a second.")]
    [Range(0d, 1UL << 40)]
    public ulong RwMbytesPerSec { get; set; }

    /// <summary>Bytes read.</summary>
    [Description("MiB read in a second.")]
    [Range(0d, 1UL << 40)]
    public ulong RMbytesPerSec { get; set; }

    /// <summary>Bytes written.</summary>
    [Description("MiB written in a second.")]
    [Range(0d, 1UL << 40)]
    public ulong WMbytesPerSec { get; set; }
}

/// <summary>A controller's <c>coalescing</c>.</summary>
internal sealed class CoalescingOptions
{
    /// <summary>The delay.</summary>
    [Description("How long an interrupt may wait for more completions at twice the threshold, in microseconds; 0: never. It grows with the rate, to at most a hundred times this and 10 ms.")]
    [Range(0, 100000)]
    public int DelayBaseUs { get; set; }

    /// <summary>The threshold.</summary>
    [Description("Requests in a second up to which no interrupt waits.")]
    [Range(1, int.MaxValue)]
    public int IopsThreshold { get; set; } = 60000;
}
