using System.ComponentModel;
using System.ComponentModel.DataAnnotations;

namespace Vhost.Plugins.Nvme;

/// <summary>Options of a <c>nvme</c> source.</summary>
public sealed class NvmeOptions
{
    /// <summary>The controller.</summary>
    [Required]
    [Description("The controller: a PCI address (dddd:bb:dd.f) that is bound to vfio-pci or uio_pci_generic, or the path of a vfio-user socket.")]
    public string Address { get; set; } = "";

    /// <summary>Entries of each I/O queue.</summary>
    [Range(2, 4096)]
    [Description("Entries of each I/O queue; the controller may allow fewer.")]
    public int QueueSize { get; set; } = 256;

    /// <summary>When a command is aborted.</summary>
    [Range(1, 600)]
    [Description("Seconds until a command that was not answered is aborted; after as long again the controller is reset.")]
    public int TimeoutSeconds { get; set; } = 10;

    /// <summary>How long to look for a controller that is not there.</summary>
    [Range(0, 86400)]
    [Description("Seconds for which a controller that is late, or that vanished, is looked for before it is given up.")]
    public int AttachTimeoutSeconds { get; set; } = 60;
}
