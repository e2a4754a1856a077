using System.Buffers.Binary;
using System.Globalization;
using static Vhost.Scsi.Conformance.Step;

namespace Vhost.Scsi.Conformance;

/// <summary>SBC-3: the commands that move blocks.</summary>
internal static class BlockRules
{
    public static IEnumerable<Rule> For(DiskFacts facts)
    {
        var size = facts.BlockSize;
        var end = facts.BlockCount;
        var (a, b) = (Pattern(size, 1), Pattern(size, 2));
        byte[] both = [.. a, .. b];
        yield return new("SBC-3 5.13", "READ CAPACITY (16) names the last block and the block size", Reads("9E 10 0000000000000000 00000020 00 00", 32, $"{end - 1:X16} {size:X8}"));
        yield return new("SBC-3 5.12", "READ CAPACITY (10) names the last block, or that it is beyond",
            Reads("25 00 00000000 00 0000 00", 8, $"{Math.Min(end - 1, uint.MaxValue):X8} {size:X8}"));
        yield return new("SBC-3 5.7 to 5.11", "what any READ gives back is what any WRITE wrote",
            Writes("0A 00 0001 01 00", a), ReadsBack("28 00 00000001 00 0001 00", a),
            Writes("2A 00 00000001 00 0002 00", both), ReadsBack("08 00 0001 02 00", both),
            Writes("AA 00 00000002 00000001 00 00", a), ReadsBack("88 00 0000000000000002 00000001 00 00", a),
            Writes("8A 00 0000000000000002 00000001 00 00", b), ReadsBack("A8 00 00000002 00000001 00 00", b));
        yield return new("SBC-3 5.7 to 5.11", "DPO and FUA are taken", Writes("2A 18 00000001 00 0001 00", b), ReadsBack("28 18 00000001 00 0001 00", b),
            Writes("8A 18 0000000000000001 00000001 00 00", a), ReadsBack("88 18 0000000000000001 00000001 00 00", a));
        yield return new("SBC-3 5.8", "a transfer length of zero transfers nothing and is no error",
            Good("28 00 00000000 00 0000 00"), Good("2A 00 00000000 00 0000 00"), Good("88 00 0000000000000000 00000000 00 00"), Good("8A 00 0000000000000000 00000000 00 00"),
            Good("A8 00 00000000 00000000 00 00"), Good("AA 00 00000000 00000000 00 00"), Good("2F 00 00000000 00 0000 00"), Good("2E 00 00000000 00 0000 00"));
        yield return new("SBC-3 5.7", "a transfer length of zero in READ (6) means 256 blocks", Reads("08 00 0000 00 00", 256 * size));
        yield return new("SBC-3 4.6", "a range that leaves the disk", [.. Outside(end, size)]);
        yield return new("SBC-3 5.8", "RDPROTECT and WRPROTECT without protection information",
            BadField("28 20 00000000 00 0001 00", 1, 5, room: size), BadField("2A 20 00000000 00 0001 00", 1, 5, a), BadField("88 80 0000000000000000 00000001 00 00", 1, 7, room: size));
        yield return new("SBC-3 5.26", "SYNCHRONIZE CACHE of all and of a part, with IMMED too",
            Good("35 00 00000000 00 0000 00"), Good("35 02 00000001 00 0001 00"), Good("91 00 0000000000000000 00000000 00 00"),
            Fails($"91 00 {end:X16} 00000001 00 00", 5, 0x2100));
        yield return new("SBC-3 5.8", "PRE-FETCH", Good("34 00 00000000 00 0001 00"), Good("90 00 0000000000000000 00000001 00 00"), Fails($"90 00 {end:X16} 00000001 00 00", 5, 0x2100));
        yield return new("SBC-3 5.29", "VERIFY without data reads the medium", Good("2F 00 00000000 00 0010 00"), Good("8F 00 0000000000000000 00000010 00 00"), Good("AF 00 00000000 00000010 00 00"));
        yield return new("SBC-3 5.29", "VERIFY compares, and a difference is a MISCOMPARE", Writes("2A 00 00000004 00 0001 00", a), Writes("2F 02 00000004 00 0001 00", a),
            Fails("2F 02 00000004 00 0001 00", 0xE, 0x1D00, b), BadField("2F 04 00000004 00 0001 00", 1, 2, a));
        yield return new("SBC-3 5.37", "WRITE AND VERIFY writes and compares", Writes("2E 02 00000005 00 0001 00", a), ReadsBack("28 00 00000005 00 0001 00", a),
            Writes("8E 00 0000000000000005 00000001 00 00", b), ReadsBack("28 00 00000005 00 0001 00", b), Writes("AE 02 00000005 00000001 00 00", a));
        yield return new("SBC-3 5.4", "GET LBA STATUS begins with the block that was asked for, which must be there",
            Reads("9E 12 0000000000000007 00000018 00 00", 24, "00000014 00000000 0000000000000007"), Fails($"9E 12 {end:X16} 00000018 00 00", 5, 0x2100, room: 24));
        yield return new("SBC-3 5.25", "START STOP UNIT stops, after which the medium is not there, and starts",
            Good("1B 00 00 00 00 00"), Fails("00 00 00 00 00 00", 2, 0x0402), Fails("28 00 00000000 00 0001 00", 2, 0x0402, room: size),
            Reads("03 00 00 00 12 00", 18, "70 00 02"), Reads("12 00 00 00 24 00", 36), Good("1B 00 00 00 01 00"), Good("00 00 00 00 00 00"),
            BadField("1B 00 00 00 02 00", 4, 1));
        foreach (var rule in Optional(facts, a, b))
        {
            yield return rule;
        }
    }

    public static byte[] Pattern(int length, int seed)
    {
        var data = new byte[length];
        new Random(seed).NextBytes(data);
        return data;
    }

    private static IEnumerable<Rule> Optional(DiskFacts facts, byte[] a, byte[] b)
    {
        var size = facts.BlockSize;
        var zeroes = new byte[size];
        if (facts.Knows(0x93))
        {
            yield return new("SBC-3 5.43", "WRITE SAME repeats a block", Writes("41 00 00000010 00 0008 00", a), ReadsBack("28 00 00000010 00 0001 00", a), ReadsBack("28 00 00000017 00 0001 00", a),
                Writes("93 00 0000000000000011 00000002 00 00", b), ReadsBack("28 00 00000012 00 0001 00", b), ReadsBack("28 00 00000013 00 0001 00", a));
            yield return new("SBC-3 5.44", "WRITE SAME (16) with NDOB zeroes without data", Good("93 01 0000000000000011 00000002 00 00"), ReadsBack("28 00 00000011 00 0001 00", zeroes));
            yield return new("SBC-3 6.6.3", "WSNZ: WRITE SAME of no blocks is an error", BadField("93 00 0000000000000000 00000000 00 00", 10, data: a), BadField("41 00 00000000 00 0000 00", 7, data: a));
            if (facts.MaxWriteSame is > 0 and < uint.MaxValue && facts.MaxWriteSame < facts.BlockCount)
            {
                yield return new("SBC-3 6.6.3", "MAXIMUM WRITE SAME LENGTH holds", BadField($"93 00 0000000000000000 {facts.MaxWriteSame + 1:X8} 00 00", 10, data: a));
            }
        }

        if (facts.CanUnmap)
        {
            yield return new("SBC-3 5.28", "UNMAP unmaps", Writes("2A 00 00000020 00 0001 00", a), Writes("42 00 00000000 00 0018 00", UnmapList(0x20, 1)),
                facts.ReadsZeroes ? ReadsBack("28 00 00000020 00 0001 00", zeroes) : Reads("28 00 00000020 00 0001 00", size));
            yield return new("SBC-3 5.28", "UNMAP without descriptors does nothing", Good("42 00 00000000 00 0000 00"), Writes("42 00 00000000 00 0008 00", [0, 6, 0, 0, 0, 0, 0, 0]));
            yield return new("SBC-3 5.28", "UNMAP of blocks that are not there", Fails("42 00 00000000 00 0018 00", 5, 0x2100, UnmapList(facts.BlockCount, 1)));
            yield return new("SBC-3 5.28", "UNMAP with a list that is too short", Fails("42 00 00000000 00 0007 00", 5, 0x1A00, new byte[7]));
            if (facts.Knows(0x93))
            {
                yield return new("SBC-3 5.44", "WRITE SAME with UNMAP leaves what the block says", Writes("93 08 0000000000000020 00000002 00 00", zeroes), ReadsBack("28 00 00000021 00 0001 00", zeroes));
            }
        }
        else
        {
            yield return new("SBC-3 4.7", "a disk that is not provisioned has no UNMAP", Fails("42 00 00000000 00 0018 00", 5, 0x2000, UnmapList(0, 1)));
        }

        if (facts.MaxCompare > 0)
        {
            byte[] differs = [.. a];
            differs[size / 2] ^= 1;
            yield return new("SBC-3 5.2", "COMPARE AND WRITE writes if the blocks are as expected, else names the first difference", Writes("2A 00 00000030 00 0001 00", a),
                Writes("89 00 0000000000000030 000000 01 00 00", [.. a, .. b]), ReadsBack("28 00 00000030 00 0001 00", b),
                Fails("89 00 0000000000000030 000000 01 00 00", 0xE, 0x1D00, [.. a, .. a]), Writes("2A 00 00000030 00 0001 00", a),
                Fails("89 00 0000000000000030 000000 01 00 00", 0xE, 0x1D00, [.. differs, .. b]) with { Information = (ulong)size / 2 }, ReadsBack("28 00 00000030 00 0001 00", a));
            yield return new("SPC-4 4.5.2.2", "with D_SENSE the INFORMATION field is a descriptor of 64 bits", Writes("15 10 00 00 10 00", ModeRules.ControlPage(0x24, 0)),
                Writes("2A 00 00000030 00 0001 00", a), Fails("89 00 0000000000000030 000000 01 00 00", 0xE, 0x1D00, [.. differs, .. b]) with { Information = (ulong)size / 2 },
                Writes("15 10 00 00 10 00", ModeRules.ControlPage(0x20, 0)));
            yield return new("SBC-3 5.2", "COMPARE AND WRITE of no blocks does nothing", Good("89 00 0000000000000030 000000 00 00 00"));
            if (facts.MaxCompare < 255)
            {
                yield return new("SBC-3 6.6.3", "MAXIMUM COMPARE AND WRITE LENGTH holds", BadField($"89 00 0000000000000000 000000 {facts.MaxCompare + 1:X2} 00 00", 13, data: new byte[size]));
            }
        }

        if (facts.Knows(0x8B))
        {
            var combined = a.Zip(b, (x, y) => (byte)(x | y)).ToArray();
            yield return new("SBC-3 5.6", "ORWRITE combines", Writes("2A 00 00000031 00 0001 00", a), Writes("8B 00 0000000000000031 00000001 00 00", b), ReadsBack("28 00 00000031 00 0001 00", combined));
        }

        if (facts.MaxTransfer > 0 && facts.MaxTransfer < facts.BlockCount)
        {
            yield return new("SBC-3 6.6.3", "MAXIMUM TRANSFER LENGTH holds", BadField($"8F 00 0000000000000000 {facts.MaxTransfer + 1:X8} 00 00", 10));
        }

        if (facts.Knows(0x9C))
        {
            yield return new("SBC-4 5.48", "WRITE ATOMIC writes, and of no blocks does nothing", Writes("9C 00 0000000000000032 0000 0001 00 00", a), ReadsBack("28 00 00000032 00 0001 00", a),
                Writes("9C 18 0000000000000032 0000 0001 00 00", b), ReadsBack("28 00 00000032 00 0001 00", b), Good("9C 00 0000000000000032 0000 0000 00 00"),
                Fails($"9C 00 {facts.BlockCount:X16} 0000 0001 00 00", 5, 0x2100, a), BadField("9C 20 0000000000000032 0000 0001 00 00", 1, 5, a));
            if (facts.MaxAtomic is > 0 and < 4096 && facts.MaxAtomic < facts.BlockCount)
            {
                yield return new("SBC-4 4.29.1", "MAXIMUM ATOMIC TRANSFER LENGTH holds",
                    BadField($"9C 00 0000000000000000 0000 {facts.MaxAtomic + 1:X4} 00 00", 12, data: a), Writes($"9C 00 0000000000000000 0000 {facts.MaxAtomic:X4} 00 00", Pattern((int)facts.MaxAtomic * size, 3)),
                    ReadsBack($"88 00 0000000000000000 {facts.MaxAtomic:X8} 00 00", Pattern((int)facts.MaxAtomic * size, 3)));
            }

            if (facts.MaxAtomicBoundary == 0)
            {
                yield return new("SBC-4 4.29.1", "an ATOMIC BOUNDARY where there is none", BadField("9C 00 0000000000000032 0001 0001 00 00", 10, data: a));
            }
        }

        if (!facts.Knows(0x9C))
        {
            yield return new("SBC-4 5.48", "WRITE ATOMIC is refused where it is not listed", Fails("9C 00 0000000000000000 0000 0001 00 00", 5, 0x2000, a),
                Reads("12 01 B0 00 40 00", 64, string.Concat(Enumerable.Repeat("??", 44)) + "00000000"));
        }
    }

    private static IEnumerable<Step> Outside(ulong end, int size)
    {
        string[] ranges = [$"{end:X16} 00000001", $"{end - 1:X16} 00000002", $"{ulong.MaxValue:X16} 00000001", $"{end + 1:X16} 00000000"];
        foreach (var range in ranges)
        {
            var count = int.Parse(range.AsSpan(17), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
            var data = new byte[count * size];
            yield return Fails($"88 00 {range} 00 00", 5, 0x2100, room: data.Length);
            yield return Fails($"8A 00 {range} 00 00", 5, 0x2100, data);
            yield return Fails($"8F 00 {range} 00 00", 5, 0x2100);
            yield return Fails($"8E 00 {range} 00 00", 5, 0x2100, data);
        }
    }

    private static byte[] UnmapList(ulong lba, uint count)
    {
        var list = new byte[24];
        list[1] = 22;
        list[3] = 16;
        BinaryPrimitives.WriteUInt64BigEndian(list.AsSpan(8), lba);
        BinaryPrimitives.WriteUInt32BigEndian(list.AsSpan(16), count);
        return list;
    }
}
