using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>Names of initiator ports in parameter data. They take the form of SAS addresses, the one that holds an NAA name (SPC-4, section 7.6.4.8).</summary>
internal static class TransportId
{
    public const int LengthBytes = 24;
    private const byte SerialAttachedScsi = 0x06;

    public static void Write(Span<byte> destination, ulong initiatorNaa)
    {
        destination[..LengthBytes].Clear();
        destination[0] = SerialAttachedScsi;
        BinaryPrimitives.WriteUInt64BigEndian(destination[4..], initiatorNaa);
    }

    /// <summary>Reads a name.</summary>
    /// <param name="source">At least <see cref="LengthBytes"/> bytes.</param>
    /// <param name="initiatorNaa">The name.</param>
    /// <returns>Whether it has this form.</returns>
    public static bool TryRead(ReadOnlySpan<byte> source, out ulong initiatorNaa)
    {
        initiatorNaa = BinaryPrimitives.ReadUInt64BigEndian(source[4..]);
        return source[0] == SerialAttachedScsi
            && source[1..4].IndexOfAnyExcept((byte)0) < 0
            && source[12..LengthBytes].IndexOfAnyExcept((byte)0) < 0;
    }
}
