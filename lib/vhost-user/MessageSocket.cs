using Vhost.Linux;

namespace Vhost.VhostUser;

/// <summary>What a read of a <see cref="MessageSocket"/> gave.</summary>
public enum MessageReadState
{
    /// <summary>A whole message.</summary>
    Message,

    /// <summary>No whole message yet; wait until the socket is readable.</summary>
    Incomplete,

    /// <summary>The peer closed the connection between two messages.</summary>
    Closed,
}

/// <summary>
/// Frames vhost-user messages on a stream socket. It never reads past the message it is at, so that descriptors stay with the message that they were
/// sent with, and never waits for a peer that stops in the middle. One reading thread; sending is for one thread at a time.
/// </summary>
/// <param name="socket">The connected socket; owned from now on.</param>
public sealed class MessageSocket(UnixSocket socket) : IDisposable
{
    /// <summary>Descriptors that one message may carry: one for each region of a memory table.</summary>
    public const int MaxDescriptors = RegionDescription.MaxTableRegions;

    private readonly byte[] _header = new byte[MessageHeader.LengthBytes];
    private readonly int[] _descriptors = new int[MaxDescriptors];
    private byte[] _payload = [];
    private MessageHeader _parsed;
    private bool _hasHeader;
    private int _receivedBytes;
    private int _descriptorCount;

    /// <summary>The socket, for waiting and for the peer's credentials.</summary>
    public UnixSocket Socket => socket;

    /// <summary>Reads as much of the next message as is there, without waiting.</summary>
    /// <param name="message">The message, to be disposed by the caller, if the result is <see cref="MessageReadState.Message"/>.</param>
    /// <exception cref="VhostUserException">The header is wrong, the connection ended within a message, or too many descriptors came.</exception>
    /// <exception cref="LinuxException">The connection broke.</exception>
    public MessageReadState TryRead(out VhostUserMessage? message)
    {
        message = null;
        while (true)
        {
            Span<byte> target = _hasHeader ? _payload : _header;
            if (_receivedBytes == target.Length)
            {
                if (!_hasHeader)
                {
                    _parsed = MessageHeader.Read(_header);
                    _parsed.CheckFrame();
                    _payload = _parsed.PayloadBytes == 0 ? [] : new byte[_parsed.PayloadBytes];
                    _hasHeader = true;
                    _receivedBytes = 0;
                    continue;
                }

                message = new VhostUserMessage(_parsed, _payload, _descriptors.AsSpan(0, _descriptorCount));
                _hasHeader = false;
                _receivedBytes = 0;
                _descriptorCount = 0;
                return MessageReadState.Message;
            }

            var result = socket.Receive(target[_receivedBytes..], _descriptors.AsSpan(_descriptorCount), blocking: false);
            _descriptorCount += result.DescriptorCount;
            if (result.DescriptorsTruncated)
            {
                throw new VhostUserException(
                    $"a message carries more than {MaxDescriptors} file descriptors, or this process has no room for more (see ulimit -n)");
            }

            if (result.WouldBlock)
            {
                return MessageReadState.Incomplete;
            }

            if (result.Bytes == 0)
            {
                return _receivedBytes == 0 && !_hasHeader
                    ? MessageReadState.Closed
                    : throw new VhostUserException("the connection ended in the middle of a message");
            }

            _receivedBytes += result.Bytes;
        }
    }

    /// <summary>Sends a message; waits as long as the socket's send timeout says.</summary>
    /// <param name="header">The header.</param>
    /// <param name="payload">The payload.</param>
    /// <param name="descriptors">Descriptor numbers; they stay the caller's.</param>
    /// <exception cref="LinuxException">The peer has gone, or does not read.</exception>
    public void Send(MessageHeader header, ReadOnlySpan<byte> payload, ReadOnlySpan<int> descriptors = default)
    {
        Span<byte> bytes = stackalloc byte[MessageHeader.LengthBytes];
        header.Write(bytes);
        socket.SendAll(bytes, payload, descriptors);
    }

    /// <summary>Closes the socket, and the descriptors of a message that never became whole.</summary>
    public void Dispose()
    {
        for (var i = 0; i < _descriptorCount; i++)
        {
            FileDescriptor.CloseRaw(_descriptors[i]);
        }

        _descriptorCount = 0;
        socket.Dispose();
    }
}
