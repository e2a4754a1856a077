using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Vhost.Host.Manifest;

/// <summary>A set of CPUs as SPDK writes it: a hexadecimal mask <c>0x5</c>, or a list <c>[0,2-3]</c>.</summary>
internal static class CpuMask
{
    /// <summary>CPUs above this are refused: no machine has them.</summary>
    internal const int MaxCpuIndex = 4095;

    /// <summary>What a mask looks like, for messages.</summary>
    internal const string Form = "a mask like \"0x3\" or a list like \"[0,2-3]\", with CPUs up to 4095";

    /// <summary>Parses a mask.</summary>
    /// <param name="text">The text.</param>
    /// <param name="cpuIndexes">The CPUs, ascending; at least one.</param>
    internal static bool TryParse(string text, [NotNullWhen(true)] out IReadOnlyList<int>? cpuIndexes)
    {
        var cpus = new SortedSet<int>();
        bool valid = text.StartsWith('[') && text.EndsWith(']')
            ? TryParseList(text[1..^1], cpus)
            : TryParseMask(text.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? text[2..] : text, cpus);
        cpuIndexes = valid && cpus.Count > 0 ? [.. cpus] : null;
        return cpuIndexes is not null;
    }

    private static bool TryParseMask(string digits, SortedSet<int> cpus)
    {
        if (digits.Length is 0 or > (MaxCpuIndex + 1) / 4)
        {
            return false;
        }

        for (int i = 0; i < digits.Length; i++)
        {
            if (!char.IsAsciiHexDigit(digits[i]))
            {
                return false;
            }

            int nibble = int.Parse(digits.AsSpan(i, 1), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            int first = (digits.Length - 1 - i) * 4;
            for (int bit = 0; bit < 4; bit++)
            {
                if ((nibble & (1 << bit)) != 0)
                {
                    cpus.Add(first + bit);
                }
            }
        }

        return true;
    }

    private static bool TryParseList(string list, SortedSet<int> cpus)
    {
        foreach (string item in list.Split(',', StringSplitOptions.TrimEntries))
        {
            string[] ends = item.Split('-', StringSplitOptions.TrimEntries);
            if (ends.Length > 2
                || !int.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out int first)
                || !int.TryParse(ends[^1], NumberStyles.None, CultureInfo.InvariantCulture, out int last)
                || first > last || last > MaxCpuIndex)
            {
                return false;
            }

            for (int cpu = first; cpu <= last; cpu++)
            {
                cpus.Add(cpu);
            }
        }

        return true;
    }
}
