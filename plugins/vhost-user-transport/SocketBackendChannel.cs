using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>The back-end's requests over a socket that the front-end gave.</summary>
internal sealed class SocketBackendChannel : IBackendChannel
{
    private readonly UnixSocket _socket;

    /// <summary>Takes the socket.</summary>
    /// <param name="descriptor">The socket; owned from now on, also when this throws.</param>
    internal SocketBackendChannel(FileDescriptor descriptor)
    {
        using (descriptor)
        {
            if (FileStatus.Of(descriptor.Raw).Kind != FileKind.Socket)
            {
                throw new VhostUserException("the channel for requests of the back-end is no socket");
            }

            _socket = new UnixSocket(descriptor.Detach());
        }
    }

    /// <inheritdoc/>
    public bool TrySend(MessageHeader header)
    {
        Span<byte> bytes = stackalloc byte[MessageHeader.LengthBytes];
        header.Write(bytes);
        try
        {
            return _socket.Send(bytes, blocking: false) == bytes.Length;
        }
        catch (LinuxException)
        {
            // The front-end closed its end; the caller reports that the notice was not taken.
            return false;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _socket.Dispose();
}
