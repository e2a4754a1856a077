namespace Vhost.Plugins.VhostScsi;

/// <summary>
/// The eight bytes that address a logical unit (virtio 1.3, section 5.6.6.1): 1, the target, a single-level LUN in peripheral or flat
/// addressing or a well-known one, four zero bytes.
/// </summary>
/// <param name="raw">The bytes as a little-endian number.</param>
internal readonly struct VirtioScsiLun(ulong raw)
{
    /// <summary>The LUN of the REPORT LUNS well-known unit.</summary>
    public const int ReportLuns = 0xC101;

    /// <summary>Not the number of any unit.</summary>
    public const int None = -1;

    /// <summary>Whether the first byte is as it must be.</summary>
    public bool HasTarget => (byte)raw == 1;

    /// <summary>The target.</summary>
    public byte Target => (byte)(raw >> 8);

    /// <summary>The unit's number: 0 to 16383, <see cref="ReportLuns"/>, or <see cref="None"/>.</summary>
    public int Lun
    {
        get
        {
            var high = (byte)(raw >> 16);
            var low = (byte)(raw >> 24);
            if (raw >> 32 != 0)
            {
                return None;
            }

            return (high >> 6) switch
            {
                0 when high == 0 => low,
                1 => ((high & 0x3F) << 8) | low,
                3 when high == 0xC1 && low == 0x01 => ReportLuns,
                _ => None,
            };
        }
    }

    /// <summary>
    /// The bytes that name unit 0 of a target in events: peripheral addressing, as in REPORT LUNS. Linux takes bytes 2 and 3 for the plain
    /// number here, although it sends requests in flat addressing: with that it would look for unit 16384.
    /// </summary>
    public static ulong OfTarget(byte target) => 1UL | ((ulong)target << 8);
}
