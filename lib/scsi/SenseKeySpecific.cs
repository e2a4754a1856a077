namespace Vhost.Scsi;

/// <summary>The three sense-key-specific bytes (SPC-4, section 4.5.2.4); the default value is: none.</summary>
public readonly struct SenseKeySpecific
{
    private readonly byte _first;
    private readonly ushort _rest;

    private SenseKeySpecific(byte first, ushort rest)
    {
        _first = first;
        _rest = rest;
    }

    /// <summary>Whether there is anything.</summary>
    public bool IsValid => (_first & 0x80) != 0;

    /// <summary>Points at the field of the CDB that is at fault.</summary>
    /// <param name="byteIndex">Its first byte.</param>
    /// <param name="bit">Its leftmost bit in that byte, or -1 for the whole byte.</param>
    public static SenseKeySpecific Cdb(int byteIndex, int bit = -1) => Field(0x40, byteIndex, bit);

    /// <summary>Points at the field of the parameter list that is at fault.</summary>
    /// <param name="byteIndex">Its first byte.</param>
    /// <param name="bit">Its leftmost bit in that byte, or -1 for the whole byte.</param>
    public static SenseKeySpecific ParameterList(int byteIndex, int bit = -1) => Field(0x00, byteIndex, bit);

    /// <summary>Copies the three bytes.</summary>
    /// <param name="destination">At least three bytes.</param>
    public void CopyTo(Span<byte> destination)
    {
        destination[0] = _first;
        destination[1] = (byte)(_rest >> 8);
        destination[2] = (byte)_rest;
    }

    private static SenseKeySpecific Field(int commandData, int byteIndex, int bit)
        => new((byte)(0x80 | commandData | (bit < 0 ? 0 : 0x08 | bit)), (ushort)byteIndex);
}
