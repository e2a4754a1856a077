using Vhost.Abstractions;
using Vhost.Pci;
using Vhost.Plugins.Nvme.Controller;

namespace Vhost.Plugins.Nvme;

/// <summary>Exports the bdev type <c>nvme</c>.</summary>
[ExportBdev("nvme")]
public sealed class NvmeBdevFactory : BdevFactory<NvmeOptions>
{
    /// <inheritdoc/>
    public override string Description => "An NVMe controller driven from user space: one bdev for each active namespace, named <name>n<id>.";

    /// <inheritdoc/>
    protected override BdevDeclaration Declare(string name, NvmeOptions options) => new() { PublishedNames = [$"{name}n*"] };

    /// <inheritdoc/>
    protected override IBdevSource Create(BdevSourceContext context, NvmeOptions options) => new NvmeController(context, options, PciDeviceOpener.Shared);
}
