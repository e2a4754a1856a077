using System.Buffers.Binary;
using Vhost.BlockController;
using Vhost.VirtioPci;

namespace Vhost.Plugins.VirtioScsi.Controller;

/// <summary>The device-specific configuration (struct virtio_scsi_config; virtio 1.3, section 5.6.4), checked.</summary>
/// <param name="RequestQueueCount">Request queues, at least 1.</param>
/// <param name="MaxSegments">Data segments of a command, at least 1.</param>
/// <param name="MaxSectors">Greatest transfer, in units of 512 bytes.</param>
/// <param name="EventBytes">Size of an event.</param>
/// <param name="MaxTarget">The greatest target id.</param>
/// <param name="MaxLun">The greatest LUN.</param>
internal readonly record struct HbaConfig(int RequestQueueCount, int MaxSegments, uint MaxSectors, int EventBytes, int MaxTarget, int MaxLun)
{
    /// <summary>Size of a CDB that the driver sets.</summary>
    public const int CdbBytes = 32;

    /// <summary>Size of sense data that the driver sets.</summary>
    public const int SenseBytes = 96;

    private const uint SenseSizeOffset = 20;
    private const uint CdbSizeOffset = 24;

    /// <summary>Reads it and sets the sizes that are the driver's to set.</summary>
    public static HbaConfig Read(VirtioPciDevice device)
    {
        Span<byte> config = stackalloc byte[36];
        device.ReadDeviceConfig(0, config);
        var queues = BinaryPrimitives.ReadUInt32LittleEndian(config);
        var segments = BinaryPrimitives.ReadUInt32LittleEndian(config[4..]);
        var sectors = BinaryPrimitives.ReadUInt32LittleEndian(config[8..]);
        var eventBytes = BinaryPrimitives.ReadUInt32LittleEndian(config[16..]);
        if (queues is 0 or > 1024)
        {
            throw new ControllerRefusal($"{device.Device.Address}: the device claims {queues} request queues");
        }

        if (sectors is > 0 and < 128)
        {
            throw new ControllerRefusal($"{device.Device.Address}: the device takes at most {sectors} sectors at a time; at least 128 (64 KiB) are needed");
        }

        device.WriteDeviceConfig32(SenseSizeOffset, SenseBytes);
        device.WriteDeviceConfig32(CdbSizeOffset, CdbBytes);
        return new(
            (int)queues,
            (int)Math.Clamp(segments, 1, 126),
            sectors == 0 ? uint.MaxValue : sectors,
            (int)Math.Clamp(eventBytes, 16, 256),
            Math.Min(BinaryPrimitives.ReadUInt16LittleEndian(config[30..]), (ushort)255),
            (int)Math.Min(BinaryPrimitives.ReadUInt32LittleEndian(config[32..]), 16383));
    }
}
