using System.Buffers.Binary;

namespace Vhost.Plugins.Nvme.Protocol;

/// <summary>The SMART / Health Information log page (NVM Express Base 2.0, figure 207).</summary>
/// <param name="CriticalWarning">Bits: 0 spare low, 1 temperature, 2 reliability, 3 read-only, 4 backup failed, 5 persistent memory.</param>
/// <param name="TemperatureKelvin">Composite temperature.</param>
/// <param name="AvailableSparePercent">Spare capacity left.</param>
/// <param name="UsedPercent">Estimate of the life used, may exceed 100.</param>
/// <param name="MediaErrorCount">Unrecovered integrity errors, low 64 bits.</param>
/// <param name="UnsafeShutdownCount">Power losses without shutdown notification, low 64 bits.</param>
internal sealed record HealthLog(byte CriticalWarning, int TemperatureKelvin, int AvailableSparePercent, int UsedPercent, ulong MediaErrorCount, ulong UnsafeShutdownCount)
{
    /// <summary>Length of the page.</summary>
    public const int LengthBytes = 512;

    /// <summary>Composite temperature; null where the controller does not say.</summary>
    public int? TemperatureCelsius => TemperatureKelvin == 0 ? null : TemperatureKelvin - 273;

    /// <summary>Decodes the page.</summary>
    public static HealthLog Decode(ReadOnlySpan<byte> data) => new(
        data[0],
        BinaryPrimitives.ReadUInt16LittleEndian(data[1..]),
        data[3],
        data[5],
        BinaryPrimitives.ReadUInt64LittleEndian(data[160..]),
        BinaryPrimitives.ReadUInt64LittleEndian(data[144..]));

    /// <summary>The warnings in words; empty if there are none.</summary>
    public string DescribeWarnings()
    {
        string[] names = ["available spare is low", "temperature is out of range", "reliability is degraded", "media is read-only", "volatile memory backup failed", "persistent memory is unreliable"];
        var known = string.Join(", ", names.Where((_, bit) => (CriticalWarning & (1 << bit)) != 0));
        return known.Length > 0 || CriticalWarning == 0 ? known : $"unknown warning 0x{CriticalWarning:x2}";
    }
}
