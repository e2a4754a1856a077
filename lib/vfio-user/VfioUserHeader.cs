using System.Buffers.Binary;

namespace Vhost.VfioUser;

/// <summary>The header that precedes each message (vfio-user specification, Header), in the byte order of the host.</summary>
/// <param name="Id">Chosen by the sender of a command, repeated in its reply.</param>
/// <param name="Command">The command.</param>
/// <param name="MessageBytes">Length of the whole message with this header.</param>
/// <param name="Flags">Type, No_reply and Error.</param>
/// <param name="Error">In a reply with the error flag: an errno, or 0.</param>
public readonly record struct VfioUserHeader(ushort Id, VfioUserCommand Command, uint MessageBytes, uint Flags, uint Error)
{
    /// <summary>Length of the header in bytes.</summary>
    public const int Length = 16;

    private const uint TypeMask = 0xf;
    private const uint TypeReply = 1;
    private const uint NoReply = 1 << 4;
    private const uint ErrorFlag = 1 << 5;

    /// <summary>Whether it is a command.</summary>
    public bool IsCommand => (Flags & TypeMask) == 0;

    /// <summary>Whether it is a reply.</summary>
    public bool IsReply => (Flags & TypeMask) == TypeReply;

    /// <summary>Whether the sender of the command wants no reply.</summary>
    public bool WantsNoReply => (Flags & NoReply) != 0;

    /// <summary>Whether the reply reports an error.</summary>
    public bool IsError => (Flags & ErrorFlag) != 0;

    /// <summary>The header of a command.</summary>
    /// <param name="id">Chosen by the sender.</param>
    /// <param name="command">The command.</param>
    /// <param name="payloadBytes">Length of what follows the header.</param>
    public static VfioUserHeader ForCommand(ushort id, VfioUserCommand command, int payloadBytes) =>
        new(id, command, (uint)(Length + payloadBytes), 0, 0);

    /// <summary>The header of a reply to this command.</summary>
    /// <param name="payloadBytes">Length of what follows the header.</param>
    public VfioUserHeader ToReply(int payloadBytes) => new(Id, Command, (uint)(Length + payloadBytes), TypeReply, 0);

    /// <summary>The header of a reply to this command that reports an error; nothing follows it.</summary>
    /// <param name="errno">A positive error number.</param>
    public VfioUserHeader ToError(int errno) => new(Id, Command, Length, TypeReply | ErrorFlag, (uint)errno);

    /// <summary>Reads a header.</summary>
    /// <param name="source">At least <see cref="Length"/> bytes.</param>
    public static VfioUserHeader Read(ReadOnlySpan<byte> source) => new(
        BinaryPrimitives.ReadUInt16LittleEndian(source),
        (VfioUserCommand)BinaryPrimitives.ReadUInt16LittleEndian(source[2..]),
        BinaryPrimitives.ReadUInt32LittleEndian(source[4..]),
        BinaryPrimitives.ReadUInt32LittleEndian(source[8..]),
        BinaryPrimitives.ReadUInt32LittleEndian(source[12..]));

    /// <summary>Writes the header.</summary>
    /// <param name="destination">At least <see cref="Length"/> bytes.</param>
    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(destination, Id);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[2..], (ushort)Command);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], MessageBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[8..], Flags);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[12..], Error);
    }
}
