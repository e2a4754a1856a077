using System.Globalization;

namespace Vhost.Pci;

/// <summary>The address of a PCI function, <c>dddd:bb:dd.f</c> in hexadecimal digits.</summary>
/// <param name="Domain">Domain (segment).</param>
/// <param name="Bus">Bus.</param>
/// <param name="Device">Device, 0 to 31.</param>
/// <param name="Function">Function, 0 to 7.</param>
public readonly record struct PciAddress(uint Domain, byte Bus, byte Device, byte Function)
{
    /// <summary>Parses <c>dddd:bb:dd.f</c>; the domain may be left out and is 0 then.</summary>
    /// <param name="text">The text.</param>
    /// <param name="address">The address.</param>
    public static bool TryParse(string text, out PciAddress address)
    {
        address = default;
        string[] parts = text.Split(':');
        if (parts.Length is < 2 or > 3 || parts[^1].Split('.') is not [var device, var function])
        {
            return false;
        }

        uint domain = 0;
        if ((parts.Length == 3 && (parts[0].Length is < 4 or > 8 || !Hex(parts[0], out domain)))
            || parts[^2].Length != 2 || device.Length != 2 || function.Length != 1
            || !Hex(parts[^2], out uint bus) || !Hex(device, out uint d) || !Hex(function, out uint f) || d > 31 || f > 7)
        {
            return false;
        }

        address = new PciAddress(domain, (byte)bus, (byte)d, (byte)f);
        return true;
    }

    /// <summary>The address as sysfs writes it.</summary>
    public override string ToString() => $"{Domain:x4}:{Bus:x2}:{Device:x2}.{Function:x1}";

    private static bool Hex(string text, out uint value) =>
        uint.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
}
