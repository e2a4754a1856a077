using static Vhost.Scsi.Conformance.Step;

namespace Vhost.Scsi.Conformance;

/// <summary>SPC-4: INQUIRY, REQUEST SENSE, REPORT LUNS, LOG SENSE, SEND DIAGNOSTIC, and what lists commands.</summary>
internal static class PrimaryRules
{
    public static IEnumerable<Rule> For(DiskFacts facts) =>
    [
        new("SPC-4 6.47", "TEST UNIT READY succeeds at a disk that is ready", Good("00 00 00 00 00 00")),
        new("SPC-4 6.6.2", "standard INQUIRY data: direct access, connected, SPC-4, response data format 2", Reads("12 00 00 00 24 00", 36, "00 00 06 ?2")),
        new("SPC-4 6.6.2", "the additional length counts all data, whatever is transferred",
            Reads("12 00 00 00 05 00", 5, "00 00 06 ?2 5B"), Reads("12 00 00 00 60 00", 96), Reads("12 00 00 00 FF 00", 96, room: 255)),
        new("SPC-4 4.2.5.6", "an allocation length of zero is no error", Good("12 00 00 00 00 00"), Good("12 01 00 00 00 00"), Good("1A 00 3F 00 00 00"),
            Good("A3 0C 00 00 0000 00000000 00 00"), Good("9E 10 0000000000000000 00000000 00 00"), Good("03 00 00 00 00 00"), Good("4D 00 40 00 00 0000 0000 00")),
        new("SPC-4 6.6.1", "a page code without EVPD is an error", BadField("12 00 80 00 FF 00", 2, room: 255)),
        new("SPC-4 6.6.1", "a page that is not there is an error", BadField("12 01 01 00 FF 00", 2, room: 255), BadField("12 01 C0 00 FF 00", 2, room: 255)),
        new("SPC-4 7.8.15", "the supported VPD pages are in ascending order and begin with themselves", Reads("12 01 00 00 04 00", 4, "00 00 00")),
        new("SPC-4 7.8.5", "page 83h has an NAA designator of the logical unit", Reads("12 01 83 00 10 00", 16, "00 83 ???? 01 03 00 08")),
        new("SPC-4 7.8.18", "page 80h is there", Reads("12 01 80 00 04 00", 4, "00 80")),
        new("SPC-4 7.8.7", "page 86h is 64 bytes long", Reads("12 01 86 00 FF 00", 64, "00 86 00 3C", 255)),
        new("SPC-4 7.8.9", "page 87h is there", Reads("12 01 87 00 04 00", 4, "00 87")),
        new("SPC-4 7.8.14", "page 88h is there", Reads("12 01 88 00 04 00", 4, "00 88")),
        new("SBC-3 6.6.3", "page B0h is 64 bytes long", Reads("12 01 B0 00 FF 00", 64, "00 B0 00 3C", 255)),
        new("SBC-3 6.6.2", "page B1h is 64 bytes long", Reads("12 01 B1 00 FF 00", 64, "00 B1 00 3C", 255)),
        .. facts.CanUnmap ? [new Rule("SBC-3 6.6.4", "a provisioned disk has page B2h", Reads("12 01 B2 00 08 00", 8, "00 B2 00 04"))] : Array.Empty<Rule>(),
        new("SPC-4 6.39", "REQUEST SENSE without anything to report, in both formats",
            Reads("03 00 00 00 FF 00", 18, "70 00 00 00000000 0A 00000000 0000", 255), Reads("03 01 00 00 FF 00", 8, "72 00 0000 000000 00", 255)),
        new("SPC-4 6.33", "REPORT LUNS lists LUN 0", Reads("A0 00 00 000000 00000010 00 00", 16, "???????? 00000000 0000000000000000")),
        new("SPC-4 6.33", "REPORT LUNS lists well-known units on demand", Reads("A0 00 01 000000 00001000 00 00", 16, "00000008 00000000 C101000000000000", 4096)),
        new("SPC-4 6.33", "an allocation length below 16 is an error", BadField("A0 00 00 000000 0000000F 00 00", 6, room: 15)),
        new("SPC-4 6.33", "a reserved SELECT REPORT is an error", BadField("A0 00 03 000000 00000010 00 00", 2, room: 16)),
        new("SPC-4 4.2.5.2", "an operation code that is not supported", Fails("FF 00 00 00 00 00", 5, 0x2000), Fails("04 00 00 00 00 00", 5, 0x2000)),
        new("SPC-4 4.2.5.2", "a service action that is not supported", BadField("9E 1F 0000000000000000 00000000 00 00", 1, 4)),
        new("SPC-4 6.34.1", "REPORTING OPTIONS that do not fit the operation code",
            BadField("A3 0C 01 9E 0000 00000100 00 00", 2, 2, room: 256), BadField("A3 0C 02 28 0000 00000100 00 00", 2, 2, room: 256),
            BadField("A3 0C 07 28 0000 00000100 00 00", 2, 2, room: 256)),
        new("SPC-4 6.34.3", "a command that is not supported is described so",
            Reads("A3 0C 01 FF 0000 00000100 00 00", 4, "00 01 0000", 256), Reads("A3 0C 03 9E 001F 00000100 00 00", 4, "00 01 0000", 256)),
        new("SPC-4 6.34.4", "timeouts descriptors on demand", Reads("A3 0C 81 28 0000 00000100 00 00", 26, "00 83 000A 28", 256)),
        new("SPC-4 6.35", "task management functions", Reads("A3 0D 00 00 0000 00000010 00 00", 4, "DC 03 00 00", 16), Reads("A3 0D 80 00 0000 00000010 00 00", 16, "DC 03 00 0C")),
        new("SPC-4 6.37", "REPORT TARGET PORT GROUPS: one state, active/optimized",
            Reads("A3 0A 00 00 0000 00001000 00 00", -1, "???????? 00 01 ???? 00 00 00", 4096), Reads("A3 2A 00 00 0000 00001000 00 00", -1, "???????? 10 00 00 00 00 01", 4096),
            BadField("A3 4A 00 00 0000 00001000 00 00", 1, 7, room: 4096)),
        new("SPC-4 6.7", "LOG SENSE: the supported pages begin with themselves", Reads("4D 00 40 00 00 0000 0100 00", -1, "00 00 ???? 00", 256),
            Reads("4D 00 40 FF 00 0000 0100 00", -1, "40 FF ???? 00 00", 256)),
        new("SPC-4 6.7", "LOG SENSE: informational exceptions without one", Reads("4D 00 6F 00 00 0000 0100 00", -1, "2F 00 ???? 0000 ?? ?? 00 00", 256)),
        new("SPC-4 6.7", "LOG SENSE: the self-test results have 20 parameters", Reads("4D 00 50 00 00 0000 0400 00", 404, "10 00 0190 0001", 1024)),
        new("SPC-4 6.7", "LOG SENSE: saving, a page, a subpage and a parameter pointer that are not there",
            BadField("4D 01 40 00 00 0000 0100 00", 1, 0, room: 256), BadField("4D 00 7E 00 00 0000 0100 00", 2, 5, room: 256),
            BadField("4D 00 6F 01 00 0000 0100 00", 3, room: 256), BadField("4D 00 6F 00 00 7000 0100 00", 5, room: 256)),
        new("SPC-4 6.42", "the self-test succeeds and is the first of the results", Good("1D 04 00 0000 00"),
            Reads("4D 00 50 00 00 0000 0014 00", 20, "10 00 0190 0001 ?? 10 00")),
        new("SPC-4 6.42", "SELFTEST and SELF-TEST CODE exclude each other", BadField("1D 24 00 0000 00", 1, 7)),
        new("SPC-4 6.42", "there are no diagnostic pages", BadField("1D 10 00 0004 00", 3, data: new byte[4])),
    ];
}
