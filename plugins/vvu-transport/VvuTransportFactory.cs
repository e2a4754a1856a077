using Vhost.Abstractions;
using Vhost.Pci;

namespace Vhost.Plugins.VvuTransport;

/// <summary>Makes vvu transports from the manifest.</summary>
[ExportTransport("vvu")]
public sealed class VvuTransportFactory : TransportFactory<VvuTransportOptions>
{
    /// <inheritdoc/>
    public override string Description => "A virtio-vhost-user (vvu) PCI device: serves another VM from inside this one.";

    /// <inheritdoc/>
    protected override void Validate(VvuTransportOptions options, IOptionsErrors errors)
    {
        if (string.IsNullOrWhiteSpace(options.Address))
        {
            errors.Add("address", "the address of the vvu device is missing, for example 0000:00:07.0");
        }
    }

    /// <inheritdoc/>
    protected override string GetEndpoint(VvuTransportOptions options) => options.Address;

    /// <inheritdoc/>
    protected override ITransport Create(TransportContext context, VvuTransportOptions options) => new VvuTransport(context, options, PciDeviceOpener.Shared);
}
