using static Vhost.Scsi.Conformance.Step;

namespace Vhost.Scsi.Conformance;

/// <summary>What initiators send to a disk that they find, in their order and with their lengths: the usual behaviour of operating systems, as their sources and traces show it.</summary>
internal static class StartUpRules
{
    public static IEnumerable<Rule> For(DiskFacts facts)
    {
        var size = facts.BlockSize;
        List<Step> linux =
        [
            // scsi_scan: a short INQUIRY, then all that there is; then the list of units.
            Reads("12 00 00 00 24 00", 36), Reads("12 00 00 00 60 00", 96), Reads("A0 00 00 000000 00001000 00 00", -1, room: 4096),

            // scsi_attach_vpd: the list, then each page that it knows, the header first.
            Reads("12 01 00 00 04 00", 4), Reads("12 01 00 00 FF 00", -1, room: 255),
            .. ((string[])["80", "83", "B0", "B1"]).SelectMany(page => (Step[])[Reads($"12 01 {page} 00 04 00", 4), Reads($"12 01 {page} 00 FF 00", -1, $"00 {page}", 255)]),
            BadField("12 01 89 00 40 00", 2, room: 64),
            BadField("12 01 B7 00 40 00", 2, room: 64),

            // sd: is it there, how large, how cached, and which commands it has.
            Good("00 00 00 00 00 00"), Reads("9E 10 0000000000000000 00000020 00 00", 32), Reads("25 00 00000000 00 0000 00", 8),
            Reads("1A 00 3F 00 04 00", 4), Reads("1A 00 08 00 04 00", 4), Reads("1A 00 08 00 20 00", 32), Reads("1A 00 0A 00 FF 00", -1, room: 255),
            BadField("5A 08 0A 05 00 00 00 0200 00", 3, room: 512),
            Reads("A3 0C 01 35 0000 00000200 00 00", -1, "00 03", 512), Reads("A3 0C 01 93 0000 00000200 00 00", -1, facts.Knows(0x93) ? "00 03" : "00 01", 512),
            Reads("A3 0C 03 9C 0000 00000200 00 00", -1, facts.Knows(0x9C) ? "00 03" : "00 01", 512),

            // scsi_dh_alua, because TPGS is set.
            Reads("A3 2A 00 00 0000 00000080 00 00", -1, room: 128),

            // The partition table, and the end of the disk, where some have a second one.
            Reads("28 00 00000000 00 0001 00", size), Reads($"88 00 {facts.BlockCount - 1:X16} 00000001 00 00", size), Good("35 00 00000000 00 0000 00"),
        ];
        yield return new("Linux sd", "a disk is found", [.. linux]);
        yield return new("Linux sg", "what sg_inq, sg_vpd and smartctl ask", Reads("12 00 00 00 24 00", 36), Reads("12 01 00 00 FC 00", -1, room: 252), Reads("12 01 86 00 FC 00", 64, room: 252),
            Reads("12 01 8F 00 FC 00", -1, room: 252), Reads("4D 00 40 00 00 0000 00FC 00", -1, room: 252), Reads("4D 00 40 FF 00 0000 00FC 00", -1, room: 252), Reads("4D 00 4D 00 00 0000 00FC 00", -1, room: 252),
            Reads("4D 00 4E 00 00 0000 00FC 00", -1, room: 252), Reads("4D 00 6F 00 00 0000 00FC 00", -1, room: 252), Reads("1A 00 5C 00 40 00", -1, room: 64), Reads("1A 00 1C 00 40 00", -1, room: 64));
        yield return new("Windows storport", "a bus is scanned", Reads("A0 00 00 000000 00000010 00 00", 16), Reads("12 00 00 00 FF 00", 96, room: 255), Reads("12 01 00 00 FF 00", -1, room: 255),
            Reads("12 01 83 00 FF 00", -1, room: 255), Reads("12 01 80 00 FF 00", -1, room: 255));
        yield return new("Windows disk", "a disk is started", Good("00 00 00 00 00 00"), Reads("1A 00 3F 00 C0 00", -1, room: 192), Reads("1A 08 1C 00 C0 00", -1, room: 192), Reads("25 00 00000000 00 0000 00", 8),
            Reads("9E 10 0000000000000000 00000020 00 00", 32), Reads("12 01 B0 00 40 00", 64), Reads("12 01 B1 00 40 00", 64),
            facts.CanUnmap ? Reads("12 01 B2 00 08 00", 8) : BadField("12 01 B2 00 08 00", 2, room: 8), Reads("1A 08 08 00 C0 00", 24, room: 192), Reads("4D 00 40 00 00 0000 00FF 00", -1, room: 255),
            Reads("12 01 8F 00 FF 00", -1, room: 255), Reads("28 00 00000000 00 0001 00", size));
        yield return new("Windows cluster", "the validation of persistent reservations begins", Reads("5E 00 00 00 00 00 00 0100 00", -1, room: 256), Reads("5E 01 00 00 00 00 00 0100 00", -1, room: 256),
            Reads("5E 02 00 00 00 00 00 0100 00", 8, room: 256));
    }
}
