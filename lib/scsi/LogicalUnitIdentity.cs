using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>
/// Who a logical unit says it is. It is made from what stays the same across restarts and is the same at every target port, because multipath
/// software in a guest takes two units of one identity for two ways to one disk. For that reason a bdev that has neither a UUID nor a serial
/// number is told apart from a bdev of the same name on another machine by the salt.
/// </summary>
internal sealed class LogicalUnitIdentity
{
    private const int MaxSerialLength = 128;

    public LogicalUnitIdentity(string bdevName, BdevInfo info, string salt)
    {
        Product = ToAscii(info.ProductName, 16);
        Serial = ToAscii(info.SerialNumber ?? bdevName, MaxSerialLength);
        Uuid = info.Uuid;
        var seed = info.Uuid is { } uuid ? $"uuid:{uuid:D}"
            : info.SerialNumber is { } serial ? $"serial:{serial}"
            : $"name:{salt}:{bdevName}";
        Naa = LocallyAssignedNaa(seed);
    }

    public static string Vendor => "VHOSTD";

    public static string Revision => "0100";

    public string Product { get; }

    public string Serial { get; }

    public Guid? Uuid { get; }

    /// <summary>An NAA 3h (locally assigned) identifier (SPC-4, section 7.8.6.6).</summary>
    public ulong Naa { get; }

    /// <summary>A name that is as good as unique, made from a seed.</summary>
    public static ulong LocallyAssignedNaa(string seed)
    {
        var hash = SHA256.HashData(Encoding.UTF8.GetBytes(seed));
        return (BinaryPrimitives.ReadUInt64BigEndian(hash) & 0x0FFF_FFFF_FFFF_FFFF) | 0x3000_0000_0000_0000;
    }

    private static string ToAscii(string text, int maxLength)
    {
        var characters = text.Select(character => character is >= ' ' and <= '~' ? character : '_').Take(maxLength).ToArray();
        return new string(characters);
    }
}
