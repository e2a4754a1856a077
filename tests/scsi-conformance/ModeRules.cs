using static Vhost.Scsi.Conformance.Step;

namespace Vhost.Scsi.Conformance;

/// <summary>SPC-4, sections 6.11 to 6.14 and 7.5, and SBC-3, section 6.5: mode pages.</summary>
internal static class ModeRules
{
    private const string Control = "0A0A 2? 1? 0? 00 0000 FFFF 0000";

    public static IEnumerable<Rule> For(DiskFacts facts)
    {
        var block = new byte[facts.BlockSize];
        var count = Math.Min(facts.BlockCount, uint.MaxValue);
        var descriptor = $"{count:X8} {facts.BlockSize:X8}";
        yield return new("SPC-4 7.5.5", "MODE SENSE (6): header and block descriptor, and without it", Reads("1A 00 0A 00 FF 00", 24, $"17 00 ?? 08 {descriptor} {Control}", 255),
            Reads("1A 08 0A 00 FF 00", 16, $"0F 00 ?? 00 {Control}", 255));
        yield return new("SPC-4 7.5.5", "MODE SENSE (10): header and both forms of the block descriptor", Reads("5A 00 0A 00 00 00 00 0100 00", 28, $"001A 00 ?? 00 00 0008 {descriptor} {Control}", 256),
            Reads("5A 10 0A 00 00 00 00 0100 00", 36, $"0022 00 ?? 01 00 0010 {facts.BlockCount:X16} 00000000 {facts.BlockSize:X8} {Control}", 256));
        yield return new("SPC-4 6.13.1", "page 3Fh is all pages in ascending order", Reads("1A 08 3F 00 FF 00", -1, "?? 00 ?? 00 01 0A", 255));
        yield return new("SPC-4 6.13.3", "changeable and default values", Reads("1A 08 4A 00 FF 00", 16, "0F 00 ?? 00 0A0A 04 00 08", 255), Reads("1A 08 8A 00 FF 00", 16, "0F 00 ?? 00 0A0A 20 10 00", 255),
            Reads("1A 08 48 00 FF 00", 24, $"17 00 ?? 00 0812 {(facts.HasCache ? "04" : "00")} 00", 255));
        yield return new("SPC-4 6.13.3", "no values are saved", Fails("1A 08 CA 00 FF 00", 5, 0x3900, room: 255), BadField("15 11 00 00 04 00", 1, 0, new byte[4]));
        yield return new("SPC-4 6.13.1", "a page, and a subpage, that are not there", BadField("1A 08 3E 00 FF 00", 2, 5, room: 255), BadField("1A 08 0A 02 FF 00", 3, room: 255));
        yield return new("SPC-4 6.11", "MODE SELECT needs the page format, and a list that is long enough", BadField("15 00 00 00 04 00", 1, 4, new byte[4]),
            Fails("15 10 00 00 03 00", 5, 0x1A00, new byte[3]), Good("15 10 00 00 00 00"), Writes("15 10 00 00 04 00", new byte[4]));
        yield return new("SPC-4 7.5.8", "D_SENSE chooses the format of sense data", Writes("15 10 00 00 10 00", ControlPage(0x24, 0)),
            BadField("28 20 00000000 00 0001 00", 1, 5, room: facts.BlockSize), Fails($"88 00 {facts.BlockCount:X16} 00000001 00 00", 5, 0x2100, room: facts.BlockSize),
            Reads("1A 08 0A 00 FF 00", 16, "0F 00 ?? 00 0A0A 24", 255), Writes("15 10 00 00 10 00", ControlPage(0x20, 0)));
        yield return new("SPC-4 7.5.8", "SWP protects the medium, and MODE SENSE says so", Writes("15 10 00 00 10 00", ControlPage(0x20, 0x08)),
            Fails("2A 00 00000000 00 0001 00", 7, 0x2702, block), Fails("8A 00 0000000000000000 00000001 00 00", 7, 0x2702, block), Reads("28 00 00000000 00 0001 00", facts.BlockSize),
            Reads("1A 08 0A 00 FF 00", 16, "0F 00 9? 00", 255), Writes("15 10 00 00 10 00", ControlPage(0x20, 0)), Writes("2A 00 00000000 00 0001 00", block));
        yield return new("SPC-4 6.11", "a field that cannot be changed, and a page length that is wrong", BadParameter("15 10 00 00 10 00", 4 + 2, 7, ControlPage(0xA0, 0)),
            BadParameter("15 10 00 00 10 00", 4 + 1, -1, [0, 0, 0, 0, 0x0A, 0x09, .. new byte[10]]), BadParameter("15 10 00 00 10 00", 4, 6, [0, 0, 0, 0, 0x3E, 0x0A, .. new byte[10]]),
            BadParameter("15 10 00 00 10 00", 1, -1, [0, 1, 0, 0, .. ControlPage(0x20, 0)[4..]]), Fails("15 10 00 00 0F 00", 5, 0x1A00, ControlPage(0x20, 0)[..15]));
        if (facts.HasCache)
        {
            yield return new("SBC-3 6.5.5", "WCE switches the cache off and on", Writes("15 10 00 00 18 00", CachingPage(0)), Reads("1A 08 08 00 FF 00", 24, "17 00 ?? 00 0812 00", 255),
                Writes("2A 00 00000000 00 0001 00", block), Writes("15 10 00 00 18 00", CachingPage(4)), Reads("1A 08 08 00 FF 00", 24, "17 00 ?? 00 0812 04", 255));
        }
    }

    public static byte[] ControlPage(byte second, byte fourth) => [0, 0, 0, 0, 0x0A, 0x0A, second, 0x10, fourth, 0, 0, 0, 0xFF, 0xFF, 0, 0];

    private static byte[] CachingPage(byte second) => [0, 0, 0, 0, 0x08, 0x12, second, .. new byte[17]];
}
