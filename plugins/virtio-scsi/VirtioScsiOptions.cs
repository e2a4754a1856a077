using System.ComponentModel;
using System.ComponentModel.DataAnnotations;

namespace Vhost.Plugins.VirtioScsi;

/// <summary>Options of a <c>virtio-scsi</c> source.</summary>
public sealed class VirtioScsiOptions
{
    /// <summary>The HBA.</summary>
    [Required]
    [Description("The HBA: a PCI address (dddd:bb:dd.f) that is bound to vfio-pci or uio_pci_generic, or the path of a vfio-user socket.")]
    public string Address { get; set; } = "";

    /// <summary>Entries of each request queue.</summary>
    [Range(2, 1024)]
    [Description("Entries of each request queue; the device may allow fewer.")]
    public int QueueSize { get; set; } = 256;

    /// <summary>When a command is aborted.</summary>
    [Range(1, 600)]
    [Description("Seconds until a command that was not answered is aborted; after as long again the device is reset.")]
    public int TimeoutSeconds { get; set; } = 10;

    /// <summary>How long to look for an HBA that is not there.</summary>
    [Range(0, 86400)]
    [Description("Seconds for which a device that is late, or that vanished, is looked for before it is given up.")]
    public int AttachTimeoutSeconds { get; set; } = 60;

    /// <summary>How many targets are looked for.</summary>
    [Range(1, 256)]
    [Description("Targets that are scanned, from 0; the device may have fewer.")]
    public int MaxTargets { get; set; } = 256;
}
