using Vhost.VhostUser;

namespace Vhost.Plugins.VvuTransport;

/// <summary>A kick that the device turns into an interrupt, or none.</summary>
/// <param name="wakeFileDescriptor">The vector's eventfd, owned by the device, or -1.</param>
internal sealed class VvuKick(int wakeFileDescriptor) : IQueueKick
{
    /// <inheritdoc/>
    public int WakeFileDescriptor { get; } = wakeFileDescriptor;

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
