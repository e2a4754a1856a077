using System.ComponentModel;
using System.ComponentModel.DataAnnotations;

namespace Vhost.Plugins.VvuTransport;

/// <summary>Options of a <c>vvu</c> transport.</summary>
public sealed class VvuTransportOptions
{
    /// <summary>The device.</summary>
    [Required]
    [Description("The vvu device: a PCI address (dddd:bb:dd.f) that is bound to vfio-pci or uio_pci_generic, or the path of a vfio-user socket.")]
    public string Address { get; set; } = "";

    /// <summary>Whether the bdevs' devices reach the Compute VM's memory themselves; null: unless that is known to be unsafe.</summary>
    [Description("Whether the bdevs' devices reach the Compute VM's memory themselves (no copy). Left out: not behind vvu-device in QEMU, whose emulated disks return wrong data there.")]
    public bool? DirectDma { get; set; }

    /// <summary>How long a device that vanished is looked for.</summary>
    [Range(0, 86400)]
    [Description("Seconds for which a device that vanished or failed is looked for before it is given up.")]
    public int AttachTimeoutSeconds { get; set; } = 60;
}
