using System.Buffers.Binary;

namespace Vhost.VhostUser;

/// <summary>The header of a message (vhost-user, "Header"): numbers in the machine's byte order, which is little-endian here.</summary>
/// <param name="Request">The request's number.</param>
/// <param name="Flags">Version and flags.</param>
/// <param name="PayloadBytes">Length of the payload that follows.</param>
public readonly record struct MessageHeader(uint Request, uint Flags, uint PayloadBytes)
{
    /// <summary>Length of a header.</summary>
    public const int LengthBytes = 12;

    /// <summary>
    /// The longest payload that is accepted; the protocol's longest are a memory table (264 bytes) and a configuration space (268 bytes).
    /// </summary>
    public const int MaxPayloadBytes = 1024;

    /// <summary>The version that the lower two flag bits hold.</summary>
    public const uint Version = 1;

    /// <summary>The mask of the version.</summary>
    public const uint VersionMask = 3;

    /// <summary>The message is a reply.</summary>
    public const uint ReplyFlag = 1 << 2;

    /// <summary>The sender asks for a reply (REPLY_ACK).</summary>
    public const uint NeedReplyFlag = 1 << 3;

    /// <summary>Reads a header.</summary>
    /// <param name="source">At least <see cref="LengthBytes"/>.</param>
    public static MessageHeader Read(ReadOnlySpan<byte> source) => new(
        BinaryPrimitives.ReadUInt32LittleEndian(source),
        BinaryPrimitives.ReadUInt32LittleEndian(source[4..]),
        BinaryPrimitives.ReadUInt32LittleEndian(source[8..]));

    /// <summary>Writes the header.</summary>
    /// <param name="destination">At least <see cref="LengthBytes"/>.</param>
    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, Request);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], Flags);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[8..], PayloadBytes);
    }

    /// <summary>Checks version and length before the payload is read.</summary>
    /// <exception cref="VhostUserException">One of them is wrong.</exception>
    public void CheckFrame()
    {
        if ((Flags & VersionMask) != Version)
        {
            throw new VhostUserException($"message {Request} has version {Flags & VersionMask}, not {Version}: the peer does not speak vhost-user");
        }

        if (PayloadBytes > MaxPayloadBytes)
        {
            throw new VhostUserException($"message {Request} announces {PayloadBytes} bytes of payload, more than {MaxPayloadBytes}");
        }
    }

    /// <summary>Checks the flags of a request.</summary>
    /// <exception cref="VhostUserException">A flag is wrong.</exception>
    public void CheckRequest()
    {
        CheckFrame();
        if ((Flags & ~(VersionMask | NeedReplyFlag)) != 0)
        {
            throw new VhostUserException($"message {Request} has flags 0x{Flags:x}: a request carries the version and NEED_REPLY only");
        }
    }
}
