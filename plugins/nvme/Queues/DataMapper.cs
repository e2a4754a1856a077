using Vhost.Pci;
using Vhost.Plugins.Nvme.Protocol;

namespace Vhost.Plugins.Nvme.Queues;

/// <summary>
/// Describes a request's memory to the controller, by PRP entries or by an SGL (NVM Express Base 2.0, section 4.1). Each maps as much
/// as one command can take, a whole number of blocks, and says how much that was: 0 if the memory cannot be described this way.
/// </summary>
internal sealed unsafe class DataMapper(IDmaDomain dma, bool hasSgl, bool sglNeedsDwords)
{
    private const nuint PageBytes = 4096;
    private const nuint PageMask = PageBytes - 1;
    private const int MaxPrpEntries = 257;
    private const int MaxSglDescriptors = 255;
    private const ulong SglLastSegment = 0x30UL << 56;

    /// <summary>The most that a command moves: what a page of PRP entries describes at any alignment.</summary>
    public const nuint MaxTransferBytes = (MaxPrpEntries - 1) * PageBytes;

    /// <summary>Maps the data from the cursor on.</summary>
    /// <param name="cursor">The position; left as it is.</param>
    /// <param name="limit">The most to map, a multiple of the block size and at most <see cref="MaxTransferBytes"/>.</param>
    /// <param name="blockMask">Block size - 1.</param>
    /// <param name="list">A page for a list.</param>
    /// <param name="listIova">Its address for the controller.</param>
    /// <param name="command">Gets the data pointer.</param>
    public nuint Map(SegmentCursor cursor, nuint limit, nuint blockMask, ulong* list, ulong listIova, ref NvmeCommand command)
    {
        var byPrp = MapPrp(cursor, limit, blockMask, list, listIova, ref command);
        if (byPrp == limit || !hasSgl)
        {
            return byPrp;
        }

        var prp = command;
        var bySgl = MapSgl(cursor, limit, blockMask, list, listIova, ref command);
        if (bySgl > byPrp)
        {
            return bySgl;
        }

        // The list page was overwritten by the SGL: describe it once more.
        command = prp;
        return byPrp == 0 ? 0 : MapPrp(cursor, limit, blockMask, list, listIova, ref command);
    }

    private nuint MapPrp(SegmentCursor cursor, nuint limit, nuint blockMask, ulong* list, ulong listIova, ref NvmeCommand command)
    {
        nuint total = 0;
        var entries = 0;
        ulong first = 0;
        ulong second = 0;
        ulong next = 0;
        while (total < limit && cursor.TryPeek(limit - total, out var address, out var wanted))
        {
            if (!dma.TryTranslate((nint)address, wanted, out var iova, out var length))
            {
                break;
            }

            var position = iova;
            var end = iova + length;
            if (entries == 0 ? (iova & 3) != 0 : iova != next && ((iova | next) & PageMask) != 0)
            {
                // Only the first entry may begin within a page, and only the last one may end within one.
                break;
            }

            if (entries != 0 && iova == next && (iova & PageMask) != 0)
            {
                // Goes on where the former piece ended, within a page that has its entry already.
                position = Math.Min(end, (iova | PageMask) + 1);
            }

            while (position < end && entries < MaxPrpEntries)
            {
                switch (entries++)
                {
                    case 0:
                        first = position;
                        break;
                    case 1:
                        second = position;
                        list[0] = position;
                        break;
                    default:
                        list[entries - 2] = position;
                        break;
                }

                position = Math.Min(end, (position | PageMask) + 1);
            }

            total += (nuint)(position - iova);
            next = position;
            if (position < end)
            {
                break;
            }

            cursor.Advance(length);
        }

        total &= ~blockMask;
        if (total == 0)
        {
            return 0;
        }

        // Entry 2 is an address if the data spans two pages, and a list if it spans more: by what is really transferred.
        var pages = ((nuint)(first & PageMask) + total + PageMask) / PageBytes;
        command.Flags = 0;
        command.Data1 = first;
        command.Data2 = pages <= 1 ? 0 : pages == 2 ? second : listIova;
        return total;
    }

    private nuint MapSgl(SegmentCursor cursor, nuint limit, nuint blockMask, ulong* list, ulong listIova, ref NvmeCommand command)
    {
        nuint total = 0;
        var count = 0;
        while (total < limit && count < MaxSglDescriptors && cursor.TryPeek(limit - total, out var address, out var wanted))
        {
            if (!dma.TryTranslate((nint)address, wanted, out var iova, out var length)
                || (sglNeedsDwords && ((iova | length) & 3) != 0))
            {
                break;
            }

            list[2 * count] = iova;
            list[(2 * count) + 1] = length; // type 0: data block, length in the low 32 bits
            count++;
            total += length;
            cursor.Advance(length);
        }

        var excess = total & blockMask;
        total -= excess;
        if (total == 0)
        {
            return 0;
        }

        while (excess != 0)
        {
            var last = (nuint)list[(2 * count) - 1];
            if (last > excess)
            {
                list[(2 * count) - 1] = last - excess;
                break;
            }

            excess -= last;
            count--;
        }

        command.Flags = NvmeCommand.UsesSgl;
        if (count == 1)
        {
            command.Data1 = list[0];
            command.Data2 = list[1];
        }
        else
        {
            command.Data1 = listIova;
            command.Data2 = SglLastSegment | (uint)(count * 16);
        }

        return total;
    }
}
