using System.Buffers.Binary;

namespace Vhost.Pci.Devices;

/// <summary>What VFIO_IOMMU_GET_INFO tells: the smallest page, and the device addresses that can be translated.</summary>
/// <param name="PageBytes">The smallest page that can be mapped.</param>
/// <param name="Ranges">First and last device address of each range.</param>
internal sealed record VfioIommuInfo(ulong PageBytes, IReadOnlyList<(ulong First, ulong Last)> Ranges)
{
    /// <summary>Room for the structure with its capabilities.</summary>
    public const int BufferBytes = 4096;

    // Older kernels name no ranges: 39 bits, which every IOMMU has, without x86's window for message-signalled interrupts.
    private static readonly (ulong, ulong)[] DefaultRanges = [(0, 0xfedf_ffff), (0xfef0_0000, (1UL << 39) - 1)];

    /// <summary>Reads struct vfio_iommu_type1_info with its capabilities. The list is bounded: each lies behind the one before it.</summary>
    public static VfioIommuInfo Parse(ReadOnlySpan<byte> info)
    {
        uint flags = BinaryPrimitives.ReadUInt32LittleEndian(info[4..]);
        ulong sizes = (flags & Vfio.InfoPageSizes) != 0 ? BinaryPrimitives.ReadUInt64LittleEndian(info[8..]) : 4096;
        ulong page = Math.Max(sizes & (0 - sizes), Linux.MemoryMapping.PageSize);
        uint at = (flags & Vfio.InfoCaps) != 0 ? BinaryPrimitives.ReadUInt32LittleEndian(info[16..]) : 0;
        uint least = 20;
        while (at >= least && at <= info.Length - 16)
        {
            ReadOnlySpan<byte> capability = info[(int)at..];
            if (BinaryPrimitives.ReadUInt16LittleEndian(capability) == Vfio.CapIovaRange)
            {
                uint count = Math.Min(BinaryPrimitives.ReadUInt32LittleEndian(capability[8..]), (uint)((capability.Length - 16) / 16));
                var ranges = new List<(ulong, ulong)>();
                for (int i = 0; i < count; i++)
                {
                    ulong first = BinaryPrimitives.ReadUInt64LittleEndian(capability[(16 + (i * 16))..]);
                    ulong last = BinaryPrimitives.ReadUInt64LittleEndian(capability[(24 + (i * 16))..]);
                    if (first <= last)
                    {
                        ranges.Add((first, last));
                    }
                }

                return new VfioIommuInfo(page, ranges);
            }

            least = at + 8;
            at = BinaryPrimitives.ReadUInt32LittleEndian(capability[4..]);
        }

        return new VfioIommuInfo(page, DefaultRanges);
    }

    /// <summary>The addresses between, before and behind the ranges.</summary>
    public IEnumerable<(ulong First, ulong Last)> Gaps()
    {
        ulong next = 0;
        foreach ((ulong first, ulong last) in Ranges.OrderBy(r => r.First))
        {
            if (first > next)
            {
                yield return (next, first - 1);
            }

            if (last == ulong.MaxValue)
            {
                yield break;
            }

            next = last + 1;
        }

        yield return (next, ulong.MaxValue);
    }
}
