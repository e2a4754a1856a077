using System.ComponentModel;
using System.ComponentModel.DataAnnotations;

namespace Vhost.Plugins.VhostScsi;

/// <summary>The options of a <c>scsi</c> controller.</summary>
public sealed class VhostScsiOptions
{
    /// <summary>The disks: target number to bdev name. A target has one logical unit, number 0.</summary>
    [Description("The disks: target number (\"0\" to \"255\") to bdev name. A bdev that is not there yet appears in the guest when it is.")]
    public Dictionary<string, string> Targets { get; set; } = [];

    /// <summary>The greatest number of request queues; the guest uses as many as it wants up to that.</summary>
    [Description("The greatest number of request queues. QEMU asks for one for each vCPU by default.")]
    [Range(1, 1022)]
    public int Queues { get; set; } = 128;

    /// <summary>The greatest queue size that is accepted.</summary>
    [Description("The greatest queue size that is accepted: a power of two.")]
    [Range(2, 32768)]
    public int QueueSize { get; set; } = 1024;

    /// <summary>
    /// Part of the identity of disks that have neither a UUID nor a serial number. Two hosts between which a guest migrates give the same.
    /// </summary>
    [Description("Part of the identity of disks that have neither UUID nor serial number; this machine's id by default. Give both hosts of a migration the same.")]
    public string? Identity { get; set; }

    /// <summary>The directory that keeps persistent reservations through a loss of power; none by default.</summary>
    [Description("A directory that keeps persistent reservations through a restart of vhostd or a loss of power, where initiators ask for that (APTPL). Default: they are not kept, and such a request is refused. Controllers that share a bdev give the same.")]
    public string? Reservations { get; set; }
}
