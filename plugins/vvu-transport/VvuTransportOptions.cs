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

    /// <summary>Whether the bdevs' devices reach the Compute VM's memory themselves; null: those that are right on every platform.</summary>
    [Description("Whether the bdevs' devices reach the Compute VM's memory themselves (no copy). Left out: NVMe does, and for virtio-scsi vhostd copies, because QEMU's emulated one loses data in vvu-device's memory; all do over a vfio-user socket.")]
    public bool? DirectDma { get; set; }

    /// <summary>How long a device that vanished is looked for.</summary>
    [Range(0, 86400)]
    [Description("Seconds for which a device that vanished or failed is looked for before it is given up.")]
    public int AttachTimeoutSeconds { get; set; } = 60;
}
