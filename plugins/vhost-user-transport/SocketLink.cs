using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>A session's link over a unix socket: memory, kicks and calls are file descriptors.</summary>
/// <param name="connection">The connection; the caller disposes it after the session.</param>
internal sealed class SocketLink(MessageSocket connection) : IVhostUserLink
{
    /// <inheritdoc/>
    public bool CarriesDescriptors => true;

    /// <inheritdoc/>
    /// <remarks>A socket carries all there is.</remarks>
    public ProtocolFeatures ProtocolFeatures => (ProtocolFeatures)ulong.MaxValue;

    /// <inheritdoc/>
    public void SendReply(MessageHeader header, ReadOnlySpan<byte> payload, FileDescriptor? descriptor)
    {
        if (descriptor is null)
        {
            connection.Send(header, payload);
        }
        else
        {
            connection.Send(header, payload, [descriptor.Raw]);
        }
    }

    /// <inheritdoc/>
    public IMappedRegion MapRegion(in RegionDescription description, FileDescriptor? descriptor) => MappedFileRegion.Create(description, descriptor!);

    /// <inheritdoc/>
    public IQueueKick OpenKick(int queueIndex, FileDescriptor? descriptor)
    {
        if (descriptor is not null)
        {
            DescriptorKinds.RequireEventFd(descriptor, $"the kick of queue {queueIndex}");
        }

        return new EventFdKick(descriptor);
    }

    /// <inheritdoc/>
    public IQueueCall CreateCall(int queueIndex) => new EventFdCall($"the interrupt of queue {queueIndex}");

    /// <inheritdoc/>
    public ISharedMemory MapShared(in SharedAreaDescription description, FileDescriptor? descriptor, string purpose) =>
        SharedFileMemory.Map(description, descriptor!, purpose);

    /// <inheritdoc/>
    public ISharedMemory CreateShared(ulong lengthBytes, string purpose) => SharedFileMemory.Create(lengthBytes, purpose);

    /// <inheritdoc/>
    public IBackendChannel OpenBackendChannel(FileDescriptor? descriptor) => new SocketBackendChannel(descriptor!);
}
