using System.Buffers.Binary;
using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Testing.FrontEnd;

/// <summary>A front-end's end of a vhost-user connection: sends whatever it is told to, right or wrong, and waits for replies with a bound. One thread.</summary>
public sealed class FrontEndConnection : IDisposable
{
    private const int DefaultTimeoutMilliseconds = 60_000;

    private readonly MessageSocket _messages;

    /// <summary>Takes a connected socket.</summary>
    /// <param name="socket">The socket; owned from now on.</param>
    public FrontEndConnection(UnixSocket socket)
    {
        socket.SetSendTimeout(DefaultTimeoutMilliseconds);
        _messages = new MessageSocket(socket);
    }

    /// <summary>How long to wait for a reply.</summary>
    public int TimeoutMilliseconds { get; set; } = DefaultTimeoutMilliseconds;

    /// <summary>The protocol features in use.</summary>
    public ProtocolFeatures ProtocolFeatures { get; private set; }

    /// <summary>Whether every request that has no reply of its own is sent with NEED_REPLY and waits for the acknowledgement (where negotiated).</summary>
    public bool AcknowledgesAll { get; set; } = true;

    /// <summary>The socket.</summary>
    public UnixSocket Socket => _messages.Socket;

    /// <summary>Connects to a server.</summary>
    /// <param name="path">The socket's path.</param>
    public static FrontEndConnection Connect(string path)
    {
        var socket = UnixSocket.Create();
        try
        {
            socket.Connect(path);
            return new FrontEndConnection(socket);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Sends raw bytes, message or not.</summary>
    /// <param name="bytes">What to send.</param>
    /// <param name="descriptors">Descriptors on the first byte.</param>
    public void SendRaw(ReadOnlySpan<byte> bytes, params ReadOnlySpan<int> descriptors) => Socket.SendAll(bytes, default, descriptors);

    /// <summary>Sends a message and expects nothing.</summary>
    /// <param name="request">The request.</param>
    /// <param name="payload">The payload.</param>
    /// <param name="descriptors">Descriptors.</param>
    public void Send(FrontEndRequest request, ReadOnlySpan<byte> payload, params ReadOnlySpan<int> descriptors) =>
        _messages.Send(new MessageHeader((uint)request, MessageHeader.Version, (uint)payload.Length), payload, descriptors);

    /// <summary>Sends a message that has a reply, and gives the reply's payload.</summary>
    /// <param name="request">The request.</param>
    /// <param name="payload">The payload.</param>
    /// <param name="descriptors">Descriptors.</param>
    /// <exception cref="FrontEndException">The link closed, nothing came in time, or another message came.</exception>
    public ReadOnlyMemory<byte> Ask(FrontEndRequest request, ReadOnlySpan<byte> payload, params ReadOnlySpan<int> descriptors)
    {
        Send(request, payload, descriptors);
        using var reply = Receive();
        return CheckReply(request, reply);
    }

    /// <summary>Sends a message that has a reply with a descriptor.</summary>
    /// <param name="request">The request.</param>
    /// <param name="payload">The payload.</param>
    /// <param name="descriptor">The descriptor, the caller's.</param>
    public ReadOnlyMemory<byte> Ask(FrontEndRequest request, ReadOnlySpan<byte> payload, out FileDescriptor descriptor)
    {
        Send(request, payload);
        using var reply = Receive();
        reply.ExpectDescriptors(1);
        descriptor = reply.TakeDescriptor(0);
        return CheckReply(request, reply);
    }

    /// <summary>Asks for a number.</summary>
    /// <param name="request">The request.</param>
    public ulong AskNumber(FrontEndRequest request) => BinaryPrimitives.ReadUInt64LittleEndian(Ask(request, []).Span);

    /// <summary>Sends a message without a reply of its own; waits for the acknowledgement where there is one.</summary>
    /// <param name="request">The request.</param>
    /// <param name="payload">The payload.</param>
    /// <param name="descriptors">Descriptors.</param>
    /// <exception cref="FrontEndException">The back-end refused, the link closed, or nothing came in time.</exception>
    public void Tell(FrontEndRequest request, ReadOnlySpan<byte> payload, params ReadOnlySpan<int> descriptors)
    {
        var acknowledged = AcknowledgesAll && (ProtocolFeatures & ProtocolFeatures.ReplyAck) != 0;
        var flags = MessageHeader.Version | (acknowledged ? MessageHeader.NeedReplyFlag : 0);
        _messages.Send(new MessageHeader((uint)request, flags, (uint)payload.Length), payload, descriptors);
        if (!acknowledged)
        {
            return;
        }

        using var reply = Receive();
        var result = BinaryPrimitives.ReadUInt64LittleEndian(CheckReply(request, reply).Span);
        if (result != 0)
        {
            throw new FrontEndException($"the back-end refused {request}: {result}");
        }
    }

    /// <summary>Sends a number.</summary>
    /// <param name="request">The request.</param>
    /// <param name="number">The number.</param>
    /// <param name="descriptors">Descriptors.</param>
    public void TellNumber(FrontEndRequest request, ulong number, params ReadOnlySpan<int> descriptors)
    {
        Span<byte> payload = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(payload, number);
        Tell(request, payload, descriptors);
    }

    /// <summary>Sends a ring's number.</summary>
    /// <param name="request">The request.</param>
    /// <param name="index">The ring.</param>
    /// <param name="number">The number.</param>
    public void TellVring(FrontEndRequest request, int index, uint number)
    {
        Span<byte> payload = stackalloc byte[VringState.LengthBytes];
        new VringState((uint)index, number).Write(payload);
        Tell(request, payload);
    }

    /// <summary>Negotiates protocol features.</summary>
    /// <param name="wanted">What to use of what is offered.</param>
    /// <returns>What is in use.</returns>
    public ProtocolFeatures NegotiateProtocol(ProtocolFeatures wanted)
    {
        var used = wanted & (ProtocolFeatures)AskNumber(FrontEndRequest.GetProtocolFeatures);
        Span<byte> payload = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(payload, (ulong)used);
        Send(FrontEndRequest.SetProtocolFeatures, payload);
        ProtocolFeatures = used;
        return used;
    }

    /// <summary>Waits for a message.</summary>
    /// <exception cref="FrontEndException">The link closed, or nothing came in time.</exception>
    public VhostUserMessage Receive()
    {
        var deadline = Environment.TickCount64 + TimeoutMilliseconds;
        while (true)
        {
            MessageReadState state;
            VhostUserMessage? message;
            try
            {
                state = _messages.TryRead(out message);
            }
            catch (LinuxException exception) when (exception.Error == Errno.ECONNRESET)
            {
                throw new FrontEndException("the back-end closed the link", isClosed: true);
            }

            switch (state)
            {
                case MessageReadState.Message:
                    return message!;
                case MessageReadState.Closed:
                    throw new FrontEndException("the back-end closed the link", isClosed: true);
            }

            var left = deadline - Environment.TickCount64;
            if (left <= 0 || Socket.WaitReadable((int)left) == WaitResult.TimedOut)
            {
                throw new FrontEndException($"the back-end said nothing for {TimeoutMilliseconds} ms");
            }
        }
    }

    /// <summary>Waits until the back-end closes the link; messages that come before are dropped.</summary>
    /// <exception cref="FrontEndException">It does not close in time.</exception>
    public void WaitClosed()
    {
        try
        {
            while (true)
            {
                Receive().Dispose();
            }
        }
        catch (FrontEndException exception) when (exception.IsClosed)
        {
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _messages.Dispose();

    private static ReadOnlyMemory<byte> CheckReply(FrontEndRequest request, VhostUserMessage reply) =>
        reply.Request == request && (reply.Header.Flags & MessageHeader.ReplyFlag) != 0
            ? reply.Payload
            : throw new FrontEndException($"{request} was answered by {reply.Name} with flags 0x{reply.Header.Flags:x}");
}
