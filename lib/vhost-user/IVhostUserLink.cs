using Vhost.Linux;

namespace Vhost.VhostUser;

/// <summary>
/// What a session needs from whatever carries its messages: a unix socket with file descriptors, or a virtio-vhost-user device, where memory is a BAR
/// and interrupts are doorbells. The session calls it from its own thread, one call at a time, except where a member says otherwise.
/// </summary>
public interface IVhostUserLink
{
    /// <summary>Whether messages carry file descriptors. Where they do not, those that usually have one have none.</summary>
    bool CarriesDescriptors { get; }

    /// <summary>The protocol features that the link can carry; the session offers no other.</summary>
    ProtocolFeatures ProtocolFeatures { get; }

    /// <summary>Sends a reply.</summary>
    /// <param name="header">The header.</param>
    /// <param name="payload">The payload.</param>
    /// <param name="descriptor">A descriptor that goes along, or null; it stays the caller's.</param>
    void SendReply(MessageHeader header, ReadOnlySpan<byte> payload, FileDescriptor? descriptor);

    /// <summary>Maps a piece of guest memory.</summary>
    /// <param name="description">What the front-end says about it; <see cref="RegionDescription.Check"/> has passed.</param>
    /// <param name="descriptor">What backs it, or null where the link carries none. The link's from now on, also when it throws.</param>
    /// <exception cref="VhostUserException">It cannot be mapped as described; the message says why.</exception>
    IMappedRegion MapRegion(in RegionDescription description, FileDescriptor? descriptor);

    /// <summary>Makes a kick of a descriptor.</summary>
    /// <param name="queueIndex">The queue.</param>
    /// <param name="descriptor">What the driver signals, or null where it signals nothing, or nothing that the link carries. The link's from now on, also when it throws.</param>
    /// <exception cref="VhostUserException">The descriptor is of the wrong kind.</exception>
    IQueueKick OpenKick(int queueIndex, FileDescriptor? descriptor);

    /// <summary>Makes the notifier of a queue; it lasts as long as the session.</summary>
    /// <param name="queueIndex">The queue.</param>
    IQueueCall CreateCall(int queueIndex);

    /// <summary>Makes the notifier of a queue that broke; it lasts as long as the session. By default one like that of <see cref="CreateCall"/>.</summary>
    /// <param name="queueIndex">The queue.</param>
    IQueueCall CreateErrorCall(int queueIndex) => CreateCall(queueIndex);

    /// <summary>Maps memory outside guest memory that the front-end provides: a dirty log or an in-flight area.</summary>
    /// <param name="description">Where it lies.</param>
    /// <param name="descriptor">What backs it. The link's from now on, also when it throws.</param>
    /// <param name="purpose">Names it in messages.</param>
    /// <exception cref="VhostUserException">It cannot be mapped as described; the message says why.</exception>
    ISharedMemory MapShared(in SharedAreaDescription description, FileDescriptor? descriptor, string purpose);

    /// <summary>Creates zeroed memory that the front-end keeps for this process: an in-flight area.</summary>
    /// <param name="lengthBytes">Its length.</param>
    /// <param name="purpose">Names it.</param>
    ISharedMemory CreateShared(ulong lengthBytes, string purpose);

    /// <summary>Opens the channel for requests of the back-end.</summary>
    /// <param name="descriptor">The socket, or null where the link carries none. The link's from now on, also when it throws.</param>
    /// <exception cref="VhostUserException">The descriptor is of the wrong kind.</exception>
    IBackendChannel OpenBackendChannel(FileDescriptor? descriptor);
}
