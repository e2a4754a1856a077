using System.ComponentModel;
using System.ComponentModel.DataAnnotations;

namespace Vhost.Plugins.VhostBlk;

/// <summary>The manifest's section of a blk controller.</summary>
public sealed class BlkOptions
{
    /// <summary>The bdev to serve.</summary>
    [Required]
    [Description("The bdev to serve.")]
    public string Bdev { get; set; } = "";

    /// <summary>Whether the guest may not write.</summary>
    [Description("Whether the guest may not write.")]
    public bool ReadOnly { get; set; }

    /// <summary>What the guest sees as the disk's serial number; by default the bdev's, or its name.</summary>
    [Description("What the guest sees as the disk's serial number: at most 20 printable ASCII characters. Default: the bdev's serial number, or its name.")]
    public string? Serial { get; set; }

    /// <summary>The most queues that a driver may use.</summary>
    [Range(1, BlkLimits.MaxQueues)]
    [Description("The most queues that a driver may use, 1 to 256. A front-end that wants more refuses to start; unused ones cost nothing.")]
    public int Queues { get; set; } = 64;

    /// <summary>The greatest queue size that a driver may choose.</summary>
    [Range(BlkLimits.MinQueueSize, BlkLimits.MaxQueueSize)]
    [Description("The greatest queue size that a driver may choose: a power of two from 16 to 32768.")]
    public int QueueSize { get; set; } = 1024;
}
