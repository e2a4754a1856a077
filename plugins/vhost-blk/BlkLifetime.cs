using System.Buffers.Binary;

namespace Vhost.Plugins.VhostBlk;

/// <summary>The answer to a GET_LIFETIME request (virtio 1.3, section 5.2.6).</summary>
internal static class BlkLifetime
{
    private const ushort Undefined = 0;
    private const ushort Normal = 1;
    private const ushort Warning = 2;
    private const ushort Urgent = 3;
    private const int Exceeded = 11;

    /// <summary>Writes the answer. A bdev tells the wear of the whole device, so both types of cells have the same estimate.</summary>
    /// <param name="destination">Its <see cref="BlkProtocol.LifetimeBytes"/> bytes.</param>
    /// <param name="usedPercent">How much of the rated life is used.</param>
    /// <param name="spareLeftPercent">How much of the spare blocks is left, or null.</param>
    public static void Write(Span<byte> destination, int usedPercent, int? spareLeftPercent)
    {
        var endOfLife = spareLeftPercent switch
        {
            null => Undefined,
            > 20 => Normal,
            > 10 => Warning,
            _ => Urgent,
        };

        // Steps of ten percent: 1 is up to 10 %, 10 is up to 100 %.
        var estimate = usedPercent > 100 ? Exceeded : Math.Max(1, (usedPercent + 9) / 10);
        BinaryPrimitives.WriteUInt16LittleEndian(destination, endOfLife);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[2..], (ushort)estimate);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[4..], (ushort)estimate);
    }
}
