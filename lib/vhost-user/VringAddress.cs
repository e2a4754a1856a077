using System.Buffers.Binary;

namespace Vhost.VhostUser;

/// <summary>Where a ring lies, in the front-end's address space (vhost-user, "A vring address description").</summary>
/// <param name="Index">The ring.</param>
/// <param name="Flags">Bit 0: writes to the used ring are logged.</param>
/// <param name="Descriptors">User address of the descriptor table; packed: of the descriptor ring.</param>
/// <param name="Used">User address of the used ring; packed: of the device event suppression structure.</param>
/// <param name="Available">User address of the available ring; packed: of the driver event suppression structure.</param>
/// <param name="Log">Guest address of the used ring, for the dirty log.</param>
public readonly record struct VringAddress(uint Index, uint Flags, ulong Descriptors, ulong Used, ulong Available, ulong Log)
{
    /// <summary>Length on the wire.</summary>
    public const int LengthBytes = 40;

    /// <summary>Bit 0 of <see cref="Flags"/>: VHOST_VRING_F_LOG.</summary>
    public const uint LogFlag = 1;

    /// <summary>Reads it.</summary>
    /// <param name="source">At least <see cref="LengthBytes"/>.</param>
    public static VringAddress Read(ReadOnlySpan<byte> source) => new(
        BinaryPrimitives.ReadUInt32LittleEndian(source),
        BinaryPrimitives.ReadUInt32LittleEndian(source[4..]),
        BinaryPrimitives.ReadUInt64LittleEndian(source[8..]),
        BinaryPrimitives.ReadUInt64LittleEndian(source[16..]),
        BinaryPrimitives.ReadUInt64LittleEndian(source[24..]),
        BinaryPrimitives.ReadUInt64LittleEndian(source[32..]));

    /// <summary>Writes it.</summary>
    /// <param name="destination">At least <see cref="LengthBytes"/>.</param>
    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, Index);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], Flags);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[8..], Descriptors);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[16..], Used);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[24..], Available);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[32..], Log);
    }
}
