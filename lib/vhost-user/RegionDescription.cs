using System.Buffers.Binary;

namespace Vhost.VhostUser;

/// <summary>A piece of guest memory as a front-end describes it (vhost-user, "Memory region description").</summary>
/// <param name="GuestAddress">Guest-physical address.</param>
/// <param name="LengthBytes">Length.</param>
/// <param name="UserAddress">Address in the front-end; ring addresses refer to it.</param>
/// <param name="OffsetBytes">Where the region begins in the memory behind its descriptor.</param>
public readonly record struct RegionDescription(ulong GuestAddress, ulong LengthBytes, ulong UserAddress, ulong OffsetBytes)
{
    /// <summary>Length on the wire.</summary>
    public const int WireBytes = 32;

    /// <summary>Regions that one memory table holds; more need CONFIGURE_MEM_SLOTS.</summary>
    public const int MaxTableRegions = 8;

    /// <summary>Length of what precedes the region, or the regions, in a payload.</summary>
    public const int PrefixBytes = 8;

    /// <summary>Reads it.</summary>
    /// <param name="source">At least <see cref="WireBytes"/>.</param>
    public static RegionDescription Read(ReadOnlySpan<byte> source) => new(
        BinaryPrimitives.ReadUInt64LittleEndian(source),
        BinaryPrimitives.ReadUInt64LittleEndian(source[8..]),
        BinaryPrimitives.ReadUInt64LittleEndian(source[16..]),
        BinaryPrimitives.ReadUInt64LittleEndian(source[24..]));

    /// <summary>Writes it.</summary>
    /// <param name="destination">At least <see cref="WireBytes"/>.</param>
    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(destination, GuestAddress);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[8..], LengthBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[16..], UserAddress);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[24..], OffsetBytes);
    }

    /// <summary>Checks that the region is not empty and that neither its addresses nor its place in the file wrap.</summary>
    /// <exception cref="VhostUserException">It is, or they do.</exception>
    public void Check()
    {
        if (LengthBytes == 0)
        {
            throw new VhostUserException($"the memory region at guest address 0x{GuestAddress:x} is empty");
        }

        if (LengthBytes - 1 > ulong.MaxValue - GuestAddress || LengthBytes - 1 > ulong.MaxValue - UserAddress)
        {
            throw new VhostUserException(
                $"the memory region at guest address 0x{GuestAddress:x}, user address 0x{UserAddress:x}, length 0x{LengthBytes:x} wraps around");
        }

        if (OffsetBytes > long.MaxValue || LengthBytes > long.MaxValue - OffsetBytes)
        {
            throw new VhostUserException(
                $"the memory region at guest address 0x{GuestAddress:x} has the impossible offset 0x{OffsetBytes:x} and length 0x{LengthBytes:x}");
        }
    }

    /// <summary>Whether the two share a guest address or a user address. Both have passed <see cref="Check"/>.</summary>
    /// <param name="other">The other region.</param>
    public bool Overlaps(in RegionDescription other) =>
        RangesOverlap(GuestAddress, LengthBytes, other.GuestAddress, other.LengthBytes)
        || RangesOverlap(UserAddress, LengthBytes, other.UserAddress, other.LengthBytes);

    private static bool RangesOverlap(ulong a, ulong aLength, ulong b, ulong bLength) => a <= b ? b - a < aLength : a - b < bLength;
}
