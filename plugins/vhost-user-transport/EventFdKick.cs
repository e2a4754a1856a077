using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>A kick by eventfd, or none: then the queue is polled.</summary>
/// <param name="descriptor">The eventfd, or null.</param>
internal sealed class EventFdKick(FileDescriptor? descriptor) : IQueueKick
{
    /// <inheritdoc/>
    public int WakeFileDescriptor => descriptor?.Raw ?? -1;

    /// <inheritdoc/>
    public void Dispose() => descriptor?.Dispose();
}
