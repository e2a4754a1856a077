using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Vhost.Scsi;

/// <summary>
/// The persistent reservations of one logical unit as they outlive a loss of power (APTPL; SPC-4, section 5.13.5): a text file with a version, one
/// registration a line, and a checksum of all that stands before it. PRGENERATION is not part of it: it begins at 0 again.
/// </summary>
/// <param name="Naa">The logical unit's identifier.</param>
/// <param name="Type">The reservation's type.</param>
/// <param name="HolderIndex">The holder in <paramref name="Registrations"/>; -1 for none, or where all registrants hold it.</param>
/// <param name="Registrations">The registrations.</param>
internal sealed record ReservationRecord(ulong Naa, ReservationType Type, int HolderIndex, IReadOnlyList<ReservationRecord.Entry> Registrations)
{
    /// <summary>What a file may hold at most.</summary>
    public const int MaxLengthBytes = 64 * 1024;

    private const string FirstLine = "vhostd persistent reservations 1";
    private const string ChecksumWord = "sha256 ";

    /// <summary>A registered I_T nexus.</summary>
    internal readonly record struct Entry(ulong InitiatorNaa, ulong PortNaa, ushort RelativePortId, ulong Key);

    /// <summary>The file's content.</summary>
    public string Format()
    {
        var text = new StringBuilder();
        text.Append(FirstLine).Append('\n');
        text.Append(CultureInfo.InvariantCulture, $"unit {Naa:x16}\n");
        text.Append(CultureInfo.InvariantCulture, $"reservation {(int)Type} {HolderIndex}\n");
        foreach (var entry in Registrations)
        {
            text.Append(CultureInfo.InvariantCulture, $"registration {entry.InitiatorNaa:x16} {entry.PortNaa:x16} {entry.RelativePortId} {entry.Key:x16}\n");
        }

        var checksum = Checksum(text.ToString());
        return text.Append(ChecksumWord).Append(checksum).Append('\n').ToString();
    }

    /// <summary>Reads a file's content.</summary>
    /// <exception cref="InvalidDataException">It is not what <see cref="Format"/> makes; the message says what is wrong.</exception>
    public static ReservationRecord Parse(string text)
    {
        var end = text.LastIndexOf("\n" + ChecksumWord, StringComparison.Ordinal) + 1;
        if (!text.StartsWith(FirstLine + "\n", StringComparison.Ordinal))
        {
            throw new InvalidDataException($"it does not begin with '{FirstLine}'");
        }

        if (end == 0 || text[end..] != ChecksumWord + Checksum(text[..end]) + "\n")
        {
            throw new InvalidDataException("its checksum is missing or wrong");
        }

        var lines = text[..end].Split('\n', StringSplitOptions.RemoveEmptyEntries);
        if (lines.Length < 3)
        {
            throw new InvalidDataException("lines are missing");
        }

        var naa = Hex(Words(lines[1], "unit", 2)[1]);
        var reservation = Words(lines[2], "reservation", 3);
        var type = (ReservationType)Number(reservation[1], 0, byte.MaxValue);
        var entries = new List<Entry>();
        foreach (var line in lines.Skip(3))
        {
            var words = Words(line, "registration", 5);
            entries.Add(new Entry(Hex(words[1]), Hex(words[2]), (ushort)Number(words[3], 0, ushort.MaxValue), Hex(words[4])));
        }

        var holder = Number(reservation[2], -1, entries.Count - 1);
        var needsHolder = type is not (ReservationType.None or ReservationType.WriteExclusiveAllRegistrants or ReservationType.ExclusiveAccessAllRegistrants);
        if (!Enum.IsDefined(type) || needsHolder != (holder >= 0) || (type != ReservationType.None && entries.Count == 0))
        {
            throw new InvalidDataException($"'{lines[2]}' is no reservation of {entries.Count} registrants");
        }

        return new ReservationRecord(naa, type, holder, entries);
    }

    private static string Checksum(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    private static string[] Words(string line, string first, int count)
    {
        var words = line.Split(' ');
        return words.Length == count && words[0] == first ? words : throw new InvalidDataException($"'{line}' is not understood");
    }

    private static ulong Hex(string word)
        => word.Length == 16 && ulong.TryParse(word, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value)
            ? value
            : throw new InvalidDataException($"'{word}' is no 64-bit number");

    private static int Number(string word, int min, int max)
        => int.TryParse(word, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) && value >= min && value <= max
            ? value
            : throw new InvalidDataException($"'{word}' is not from {min} to {max}");
}
