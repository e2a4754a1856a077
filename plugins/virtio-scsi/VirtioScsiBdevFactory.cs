using Vhost.Abstractions;
using Vhost.Pci;
using Vhost.Plugins.VirtioScsi.Controller;

namespace Vhost.Plugins.VirtioScsi;

/// <summary>Exports the bdev type <c>virtio-scsi</c>.</summary>
[ExportBdev("virtio-scsi")]
public sealed class VirtioScsiBdevFactory : BdevFactory<VirtioScsiOptions>
{
    /// <inheritdoc/>
    public override string Description => "A virtio-scsi HBA driven from user space: one bdev for each disk found, named <name>t<target> or <name>t<target>l<lun>.";

    /// <inheritdoc/>
    protected override BdevDeclaration Declare(string name, VirtioScsiOptions options) => new() { PublishedNames = [$"{name}t*", $"{name}t*l*"] };

    /// <inheritdoc/>
    protected override IBdevSource Create(BdevSourceContext context, VirtioScsiOptions options) => new HbaSource(context, options, PciDeviceOpener.Shared);
}
