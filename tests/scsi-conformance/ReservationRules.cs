using System.Buffers.Binary;
using static Vhost.Scsi.Conformance.Step;

namespace Vhost.Scsi.Conformance;

/// <summary>SPC-4, sections 5.13, 6.15 and 6.16, and SPC-2, for one initiator alone.</summary>
internal static class ReservationRules
{
    private const ulong Key = 0x1122334455667788;

    public static IEnumerable<Rule> For(DiskFacts facts)
    {
        if (!facts.Knows(0x5F, 0))
        {
            yield break;
        }

        yield return new("SPC-4 5.13.7", "REGISTER registers, changes and removes a key", Out(0, 0, Key), ReadKeys("00000008 1122334455667788"),
            Conflict(0, Key + 1, 5), Out(0, Key, 7), ReadKeys("00000008 0000000000000007"), Out(6, 99, Key), ReadKeys("00000008 1122334455667788"), Out(0, Key, 0), ReadKeys("00000000"));
        yield return new("SPC-4 5.13.9", "only who is registered reserves, with its key", Conflict(1, 0, 0, 1), Out(0, 0, Key), Conflict(1, Key + 1, 0, 1), Out(1, Key, 0, 1),
            Reads("5E 01 00 00 00 00 00 0100 00", 24, "???????? 00000010 1122334455667788 00000000 00 01", 256), Conflict(1, Key, 0, 3),
            Fails("5F 02 03 00 00 00000018 00", 5, 0x2604, List(Key, 0, 0)), Out(2, Key, 0, 1), Out(2, Key, 0, 1), Out(3, Key, 0), ReadKeys("00000000"));
        foreach (var type in (int[])[1, 3, 5, 6, 7, 8])
        {
            yield return new("SPC-4 5.13.9", $"type {type} is there, and its holder may do everything", Out(0, 0, Key), Out(1, Key, 0, type),
                Writes("2A 00 00000000 00 0001 00", new byte[facts.BlockSize]), Reads("28 00 00000000 00 0001 00", facts.BlockSize), Out(0, Key, 0),
                Reads("5E 01 00 00 00 00 00 0100 00", 8, "???????? 00000000", 256));
        }

        foreach (var type in (int[])[0, 2, 4, 9, 15])
        {
            yield return new("SPC-4 6.16.2", $"type {type:X} is not there", Out(0, 0, Key), BadField($"5F 01 {type:X2} 00 00 00000018 00", 2, 3, List(Key, 0, 0)), Out(3, Key, 0));
        }

        yield return new("SPC-4 6.16.2", "another scope than the logical unit's", Out(0, 0, Key), BadField("5F 01 11 00 00 00000018 00", 2, 7, List(Key, 0, 0)), Out(3, Key, 0));
        yield return new("SPC-4 6.16.3", "a parameter list of another length", Fails("5F 00 00 00 00 00000017 00", 5, 0x1A00, new byte[23]), Fails("5F 00 00 00 00 00000019 00", 5, 0x1A00, new byte[25]));
        yield return new("SPC-4 6.16.3", "SPEC_I_PT goes with REGISTER only", BadParameter("5F 06 00 00 00 00000018 00", 20, 3, List(0, Key, 0x08)));
        yield return new("SPC-4 5.13.11.4", "PREEMPT of a key that nobody has", Out(0, 0, Key), Conflict(4, Key, 3, 1), Out(4, Key, Key, 1), Out(3, Key, 0));
        yield return new("SPC-4 6.15.4", "REPORT CAPABILITIES lists all types", Reads("5E 02 00 00 00 00 00 0100 00", 8, "0008 ?? 8? EA01 0000", 256));
        yield return new("SPC-4 6.15.5", "READ FULL STATUS names the registrant", Out(0, 0, Key), Reads("5E 03 00 00 00 00 00 0100 00", 56, "???????? 00000030 1122334455667788", 256), Out(0, Key, 0));
        yield return new("SPC-2 5.5.1", "RESERVE and RELEASE, and persistent reservations not beside them", Good("16 00 00 00 00 00"), Good("16 00 00 00 00 00"), Conflict(0, 0, Key), Good("17 00 00 00 00 00"),
            Out(0, 0, Key), Conflicts("16 00 00 00 00 00"), Out(0, Key, 0), Good("56 00 00 00 00 00 00 0000 00"), Good("57 00 00 00 00 00 00 0000 00"), Good("17 00 00 00 00 00"));
    }

    private static Step Out(int action, ulong key, ulong actionKey, int type = 0) => Writes($"5F {action:X2} {type:X2} 00 00 00000018 00", List(key, actionKey, 0));

    private static Step Conflict(int action, ulong key, ulong actionKey, int type = 0) => Conflicts($"5F {action:X2} {type:X2} 00 00 00000018 00", List(key, actionKey, 0));

    private static Step ReadKeys(string keys) => Reads("5E 00 00 00 00 00 00 0100 00", -1, "???????? " + keys, 256);

    private static byte[] List(ulong key, ulong actionKey, byte flags)
    {
        var list = new byte[24];
        BinaryPrimitives.WriteUInt64BigEndian(list, key);
        BinaryPrimitives.WriteUInt64BigEndian(list.AsSpan(8), actionKey);
        list[20] = flags;
        return list;
    }
}
