using System.Buffers.Binary;

namespace Vhost.VhostUser;

/// <summary>A ring's index and one number (vhost-user, "A vring state description").</summary>
/// <param name="Index">The ring.</param>
/// <param name="Number">Size, base or switch.</param>
public readonly record struct VringState(uint Index, uint Number)
{
    /// <summary>Length on the wire.</summary>
    public const int LengthBytes = 8;

    /// <summary>Reads it.</summary>
    /// <param name="source">At least <see cref="LengthBytes"/>.</param>
    public static VringState Read(ReadOnlySpan<byte> source) =>
        new(BinaryPrimitives.ReadUInt32LittleEndian(source), BinaryPrimitives.ReadUInt32LittleEndian(source[4..]));

    /// <summary>Writes it.</summary>
    /// <param name="destination">At least <see cref="LengthBytes"/>.</param>
    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, Index);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], Number);
    }
}
