using System.Buffers.Binary;

namespace Vhost.VhostUser;

/// <summary>A part of the configuration space (vhost-user, "Virtio device config space"); its bytes follow on the wire.</summary>
/// <param name="OffsetBytes">Where it begins.</param>
/// <param name="LengthBytes">Its length.</param>
/// <param name="Flags">Bit 0: the write belongs to live migration.</param>
public readonly record struct ConfigRange(uint OffsetBytes, uint LengthBytes, uint Flags)
{
    /// <summary>Length on the wire, without the bytes that follow.</summary>
    public const int WireBytes = 12;

    /// <summary>The greatest configuration space: VHOST_USER_MAX_CONFIG_SIZE.</summary>
    public const int MaxConfigBytes = 256;

    /// <summary>Bit 0 of <see cref="Flags"/>: VHOST_SET_CONFIG_TYPE_MIGRATION.</summary>
    public const uint MigrationFlag = 1;

    /// <summary>Whether the range lies within the greatest configuration space.</summary>
    public bool IsPossible => OffsetBytes <= MaxConfigBytes && LengthBytes <= MaxConfigBytes - OffsetBytes;

    /// <summary>Reads it.</summary>
    /// <param name="source">At least <see cref="WireBytes"/>.</param>
    public static ConfigRange Read(ReadOnlySpan<byte> source) => new(
        BinaryPrimitives.ReadUInt32LittleEndian(source),
        BinaryPrimitives.ReadUInt32LittleEndian(source[4..]),
        BinaryPrimitives.ReadUInt32LittleEndian(source[8..]));

    /// <summary>Writes it.</summary>
    /// <param name="destination">At least <see cref="WireBytes"/>.</param>
    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, OffsetBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], LengthBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[8..], Flags);
    }
}
