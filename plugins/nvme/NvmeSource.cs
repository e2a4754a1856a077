using Vhost.Abstractions;
using Vhost.Pci;
using Vhost.Plugins.Nvme.Controller;

namespace Vhost.Plugins.Nvme;

/// <summary>One controller as a source of bdevs.</summary>
internal sealed class NvmeSource(BdevSourceContext context, NvmeOptions options, IPciDeviceOpener opener) : IBdevSource
{
    private readonly NvmeController _controller = new(context, options, opener);

    /// <inheritdoc/>
    public async ValueTask StartAsync(CancellationToken cancellationToken) => await _controller.StartAsync(cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => _controller.DisposeAsync();
}
