using System.Buffers.Binary;
using static Vhost.Scsi.Conformance.Step;

namespace Vhost.Scsi.Conformance;

/// <summary>SPC-4, sections 5.17.7, 6.5, 6.22 and 6.24: EXTENDED COPY within a disk.</summary>
internal static class CopyRules
{
    public static IEnumerable<Rule> For(DiskFacts facts)
    {
        if (!facts.Knows(0x83, 0))
        {
            yield break;
        }

        var (a, b) = (BlockRules.Pattern(facts.BlockSize, 3), BlockRules.Pattern(facts.BlockSize, 4));
        byte[] both = [.. a, .. b];
        yield return new("SPC-4 6.4.6.4", "a segment is copied, and the status told once", Writes("2A 00 00000040 00 0002 00", both), Copy(facts, (0x40, 0x50, 2), (0x41, 0x52, 1)),
            ReadsBack("28 00 00000050 00 0002 00", both), ReadsBack("28 00 00000052 00 0001 00", b), Reads("84 00 01 00 000000000000 00000100 00 00", 12, $"00000008 01 0002 00 {3 * facts.BlockSize:X8}", 256),
            BadField("84 00 01 00 000000000000 00000100 00 00", 2, room: 256));
        yield return new("SPC-4 6.5", "no list is no error", Good("83 00 0000000000000000 00000000 00 00"));
        yield return new("SPC-4 5.17.7.4", "blocks that are not there", Copy(facts, (facts.BlockCount - 1, 0, 2)) with { Status = 2, Sense = (0xA, 0x2100), Field = (60, -1, false) },
            Copy(facts, (0, facts.BlockCount, 1)) with { Status = 2, Sense = (0xA, 0x2100), Field = (68, -1, false) }, Reads("84 00 01 00 000000000000 00000100 00 00", 12, "00000008 02 0000", 256));
        yield return new("SPC-4 6.22", "operating parameters", Reads("84 03 00 00 000000000000 00000100 00 00", -1, "???????? 01 000000", 256));
        yield return new("SPC-4 6.6.2", "3PC is set, and page 8Fh begins with the commands", Reads("12 00 00 00 06 00", 6, "00 00 06 ?2 ?? ?8"), Reads("12 01 8F 00 FF 00", -1, "00 8F ???? 0001 ???? ?? 83 01 00 84", 255));
        yield return new("SPC-4 5.17.7.1", "lists that are not valid", Fails("83 00 0000000000000000 0000000F 00 00", 5, 0x1A00, new byte[15]), Bad(facts, 16, 0xE0, 0x2607, 16), Bad(facts, 48, 0xFF, 0x2609, 48),
            Bad(facts, 15, 1, 0x260B, 12), Bad(facts, 53, 9, 0x2600, 52));
    }

    private static Step Bad(DiskFacts facts, int index, byte value, int additional, int field)
    {
        var list = List(facts, [(0, 1, 1)]);
        list[index] = value;
        return Fails(Cdb(list), 5, additional, list) with { Field = (field, -1, false) };
    }

    private static Step Copy(DiskFacts facts, params (ulong From, ulong To, ushort Count)[] segments)
    {
        var list = List(facts, segments);
        return Writes(Cdb(list), list);
    }

    private static string Cdb(byte[] list) => $"83 00 0000000000000000 {list.Length:X8} 00 00";

    private static byte[] List(DiskFacts facts, (ulong From, ulong To, ushort Count)[] segments)
    {
        var list = new byte[16 + 32 + (28 * segments.Length)];
        list[0] = 1;
        list[3] = 32;
        list[11] = (byte)(28 * segments.Length);
        list[16] = 0xE4;
        facts.Designator.CopyTo(list, 20);
        BinaryPrimitives.WriteInt32BigEndian(list.AsSpan(44), facts.BlockSize);
        for (var i = 0; i < segments.Length; i++)
        {
            var segment = list.AsSpan(48 + (28 * i));
            segment[0] = 0x02;
            segment[3] = 0x18;
            BinaryPrimitives.WriteUInt16BigEndian(segment[10..], segments[i].Count);
            BinaryPrimitives.WriteUInt64BigEndian(segment[12..], segments[i].From);
            BinaryPrimitives.WriteUInt64BigEndian(segment[20..], segments[i].To);
        }

        return list;
    }
}
