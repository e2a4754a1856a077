using System.Buffers.Binary;
using Vhost.Linux;

namespace Vhost.VhostUser;

/// <summary>
/// A message with its payload and the descriptors that came along. It owns the descriptors: what nobody took is closed when it is disposed,
/// so that no wrong message leaks one. One thread at a time.
/// </summary>
public sealed class VhostUserMessage : IDisposable
{
    private readonly FileDescriptor?[] _descriptors;

    /// <summary>Takes a received message.</summary>
    /// <param name="header">The header.</param>
    /// <param name="payload">The payload, as long as the header says.</param>
    /// <param name="descriptors">The descriptors; the message owns them from now on.</param>
    public VhostUserMessage(MessageHeader header, ReadOnlyMemory<byte> payload, ReadOnlySpan<int> descriptors)
    {
        Header = header;
        Payload = payload;
        _descriptors = descriptors.Length == 0 ? [] : new FileDescriptor[descriptors.Length];
        for (var i = 0; i < descriptors.Length; i++)
        {
            _descriptors[i] = new FileDescriptor(descriptors[i]);
        }
    }

    /// <summary>The header.</summary>
    public MessageHeader Header { get; }

    /// <summary>What the front-end asks.</summary>
    public FrontEndRequest Request => (FrontEndRequest)Header.Request;

    /// <summary>The payload.</summary>
    public ReadOnlyMemory<byte> Payload { get; }

    /// <summary>How many descriptors came along.</summary>
    public int DescriptorCount => _descriptors.Length;

    /// <summary>Whether the sender asks for an acknowledgement.</summary>
    public bool NeedsReply => (Header.Flags & MessageHeader.NeedReplyFlag) != 0;

    /// <summary>Names the request for people.</summary>
    public string Name => Enum.IsDefined(Request) && Request != FrontEndRequest.None ? Request.ToString() : $"request {Header.Request}";

    /// <summary>Takes a descriptor out of the message; the caller owns it from now on.</summary>
    /// <param name="index">Which.</param>
    public FileDescriptor TakeDescriptor(int index)
    {
        var descriptor = _descriptors[index] ?? throw new InvalidOperationException($"descriptor {index} was taken already");
        _descriptors[index] = null;
        return descriptor;
    }

    /// <summary>The payload as one number.</summary>
    /// <exception cref="VhostUserException">It has another length.</exception>
    public ulong ReadNumber()
    {
        ExpectLength(sizeof(ulong));
        return BinaryPrimitives.ReadUInt64LittleEndian(Payload.Span);
    }

    /// <summary>Checks the payload's length.</summary>
    /// <param name="bytes">What it must be.</param>
    /// <exception cref="VhostUserException">It is another.</exception>
    public void ExpectLength(int bytes)
    {
        if (Payload.Length != bytes)
        {
            throw new VhostUserException($"{Name} has {Payload.Length} bytes of payload, not {bytes}");
        }
    }

    /// <summary>Checks the number of descriptors.</summary>
    /// <param name="count">What it must be.</param>
    /// <exception cref="VhostUserException">It is another.</exception>
    public void ExpectDescriptors(int count)
    {
        if (_descriptors.Length != count)
        {
            throw new VhostUserException($"{Name} carries {_descriptors.Length} file descriptors, not {count}");
        }
    }

    /// <summary>Closes the descriptors that nobody took.</summary>
    public void Dispose()
    {
        for (var i = 0; i < _descriptors.Length; i++)
        {
            _descriptors[i]?.Dispose();
            _descriptors[i] = null;
        }
    }
}
