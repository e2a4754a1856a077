using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>The logical blocks that a CDB names (SPC-4, section 4.2.2).</summary>
/// <param name="Lba">The first block.</param>
/// <param name="Count">How many.</param>
internal readonly record struct BlockRange(ulong Lba, ulong Count)
{
    /// <summary>Decodes a typical CDB of 6, 10, 12 or 16 bytes.</summary>
    /// <param name="cdb">The CDB.</param>
    /// <param name="cdbLengthBytes">Its length by its operation code.</param>
    public static BlockRange Decode(ReadOnlySpan<byte> cdb, int cdbLengthBytes) => cdbLengthBytes switch
    {
        10 => new(BinaryPrimitives.ReadUInt32BigEndian(cdb[2..]), BinaryPrimitives.ReadUInt16BigEndian(cdb[7..])),
        16 => new(BinaryPrimitives.ReadUInt64BigEndian(cdb[2..]), BinaryPrimitives.ReadUInt32BigEndian(cdb[10..])),
        12 => new(BinaryPrimitives.ReadUInt32BigEndian(cdb[2..]), BinaryPrimitives.ReadUInt32BigEndian(cdb[6..])),

        // A transfer length of 0 means 256 blocks in READ(6) and WRITE(6).
        _ => new(BinaryPrimitives.ReadUInt32BigEndian(cdb) & 0x1FFFFF, cdb[4] == 0 ? 256UL : cdb[4]),
    };

    /// <summary>The byte of the CDB in which the transfer length begins.</summary>
    public static int CountField(int cdbLengthBytes) => cdbLengthBytes switch
    {
        10 => 7,
        16 => 10,
        12 => 6,
        _ => 4,
    };

    /// <summary>Whether all of the range lies on the medium. An empty range may begin right after the last block.</summary>
    public bool FitsIn(ulong blockCount) => Lba <= blockCount && Count <= blockCount - Lba;
}
