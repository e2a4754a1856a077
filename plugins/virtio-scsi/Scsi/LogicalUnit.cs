namespace Vhost.Plugins.VirtioScsi.Scsi;

/// <summary>A logical unit behind the HBA.</summary>
/// <param name="Target">Target, 0 to 255.</param>
/// <param name="Lun">LUN, 0 to 16383.</param>
internal readonly record struct LogicalUnit(int Target, int Lun)
{
    /// <summary>The 8 bytes that virtio-scsi addresses it by (virtio 1.3, section 5.6.6.1), as a little-endian number.</summary>
    public ulong Address
    {
        get
        {
            // 1, target, then the LUN in flat space addressing, then 4 bytes of 0.
            var high = Lun < 256 ? 0u : 0x40u;
            return 1u | ((uint)Target << 8) | ((high | ((uint)Lun >> 8)) << 16) | (((uint)Lun & 0xff) << 24);
        }
    }

    /// <summary>Decodes an entry of REPORT LUNS data: peripheral or flat addressing; null for anything else.</summary>
    public static LogicalUnit? FromReport(int target, ReadOnlySpan<byte> entry) => (entry[0] >> 6) switch
    {
        0 when (entry[0] & 0x3f) == 0 => new(target, entry[1]),
        1 => new(target, ((entry[0] & 0x3f) << 8) | entry[1]),
        _ => null,
    };

    /// <summary>The bdev's name: <c>VirtioScsi0t3</c>, or <c>VirtioScsi0t3l1</c> for a LUN that is not 0.</summary>
    public string BdevName(string source) => Lun == 0 ? $"{source}t{Target}" : $"{source}t{Target}l{Lun}";
}
