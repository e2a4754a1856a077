using System.Buffers.Binary;
using Vhost.Scsi;

namespace Vhost.Plugins.VhostScsi;

/// <summary>
/// The device's configuration space (virtio 1.3, section 5.6.4). Over vhost-user the front-end keeps one of its own. A driver may write sense_size
/// and cdb_size. Any thread.
/// </summary>
internal sealed class VirtioScsiConfig(int requestQueues)
{
    public const int LengthBytes = 36;
    private const int SenseSizeOffset = 20;
    private const int CdbSizeOffset = 24;
    private const uint MaxSegments = 254;
    private const uint MaxSectors = 0xFFFF;
    private const uint CommandsPerLun = 1024;
    private const uint MaxLun = 16383;
    private const int MaxSenseBytes = 252;
    private const int MaxCdbBytes = 260;

    private int _senseBytes = VirtioScsi.DefaultSenseBytes;
    private int _cdbBytes = VirtioScsi.DefaultCdbBytes;

    public int SenseBytes => Volatile.Read(ref _senseBytes);

    public int CdbBytes => Volatile.Read(ref _cdbBytes);

    public void Reset()
    {
        Volatile.Write(ref _senseBytes, VirtioScsi.DefaultSenseBytes);
        Volatile.Write(ref _cdbBytes, VirtioScsi.DefaultCdbBytes);
    }

    public void Read(int offsetBytes, Span<byte> destination)
    {
        Span<byte> config = stackalloc byte[LengthBytes];
        Write(config);
        destination.Clear();
        if ((uint)offsetBytes < LengthBytes)
        {
            var part = config[offsetBytes..];
            part[..Math.Min(part.Length, destination.Length)].CopyTo(destination);
        }
    }

    public bool Write(int offsetBytes, ReadOnlySpan<byte> source)
    {
        if (offsetBytes < SenseSizeOffset || offsetBytes > CdbSizeOffset + 4 || source.Length > CdbSizeOffset + 4 - offsetBytes)
        {
            return false;
        }

        Span<byte> config = stackalloc byte[LengthBytes];
        Write(config);
        source.CopyTo(config[offsetBytes..]);
        var sense = BinaryPrimitives.ReadUInt32LittleEndian(config[SenseSizeOffset..]);
        var cdb = BinaryPrimitives.ReadUInt32LittleEndian(config[CdbSizeOffset..]);
        if (sense is < SenseData.FixedLengthBytes or > MaxSenseBytes || cdb is < 16 or > MaxCdbBytes)
        {
            return false;
        }

        Volatile.Write(ref _senseBytes, (int)sense);
        Volatile.Write(ref _cdbBytes, (int)cdb);
        return true;
    }

    private void Write(Span<byte> config)
    {
        config.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(config, (uint)requestQueues);
        BinaryPrimitives.WriteUInt32LittleEndian(config[4..], MaxSegments);
        BinaryPrimitives.WriteUInt32LittleEndian(config[8..], MaxSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(config[12..], CommandsPerLun);
        BinaryPrimitives.WriteUInt32LittleEndian(config[16..], VirtioScsi.EventBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(config[SenseSizeOffset..], (uint)SenseBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(config[CdbSizeOffset..], (uint)CdbBytes);
        BinaryPrimitives.WriteUInt16LittleEndian(config[28..], 0);
        BinaryPrimitives.WriteUInt16LittleEndian(config[30..], byte.MaxValue);
        BinaryPrimitives.WriteUInt32LittleEndian(config[32..], MaxLun);
    }
}
