using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>A session's link over a unix socket: memory, kicks and calls are file descriptors.</summary>
/// <param name="connection">The connection; the caller disposes it after the session.</param>
/// <param name="faulted">Signalled when memory of the front-end goes away under the session.</param>
internal sealed class SocketLink(MessageSocket connection, EventFd faulted) : IVhostUserLink
{
    private readonly List<WeakReference<MappedFileRegion>> _regions = [];
    private readonly List<WeakReference<SharedFileMemory>> _areas = [];

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
    public IMappedRegion MapRegion(in RegionDescription description, FileDescriptor? descriptor)
    {
        var region = MappedFileRegion.Create(description, descriptor!, faulted);
        _regions.RemoveAll(reference => !reference.TryGetTarget(out _));
        _regions.Add(new WeakReference<MappedFileRegion>(region));
        return region;
    }

    /// <summary>Says which memory went away under the session, or null.</summary>
    internal string? DescribeLostMemory()
    {
        foreach (var reference in _regions)
        {
            if (reference.TryGetTarget(out var region) && region.HasFailed)
            {
                return $"the memory region at guest address 0x{region.Region.GuestAddress:x}, {region.Region.LengthBytes >> 20} MiB";
            }
        }

        return _areas.Exists(reference => reference.TryGetTarget(out var area) && area.HasFailed) ? "the in-flight area or the dirty log" : null;
    }

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
    public ISharedMemory MapShared(in SharedAreaDescription description, FileDescriptor? descriptor, string purpose)
    {
        var area = SharedFileMemory.Map(description, descriptor!, purpose, faulted);
        _areas.RemoveAll(reference => !reference.TryGetTarget(out _));
        _areas.Add(new WeakReference<SharedFileMemory>(area));
        return area;
    }

    /// <inheritdoc/>
    public ISharedMemory CreateShared(ulong lengthBytes, string purpose) => SharedFileMemory.Create(lengthBytes, purpose);

    /// <inheritdoc/>
    public IBackendChannel OpenBackendChannel(FileDescriptor? descriptor) => new SocketBackendChannel(descriptor!);
}
