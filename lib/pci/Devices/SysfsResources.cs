using System.Globalization;

namespace Vhost.Pci.Devices;

/// <summary>The BARs as the kernel assigned them (the file <c>resource</c> of a device in sysfs).</summary>
internal static class SysfsResources
{
    /// <summary>Physical address and length of a BAR; length 0 where there is none.</summary>
    public static (ulong Address, ulong Length) Read(string deviceDirectory, int bar)
    {
        string path = Path.Combine(deviceDirectory, "resource");
        if (!File.Exists(path))
        {
            return default;
        }

        string[] lines = File.ReadAllLines(path);
        if (bar >= lines.Length || lines[bar].Split(' ') is not [var start, var end, _])
        {
            return default;
        }

        return Parse(start, out ulong first) && Parse(end, out ulong last) && last > first ? (first, last - first + 1) : default;
    }

    private static bool Parse(string text, out ulong value) =>
        ulong.TryParse(text.AsSpan(text.StartsWith("0x", StringComparison.Ordinal) ? 2 : 0), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
}
