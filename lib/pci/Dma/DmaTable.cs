using System.Runtime.CompilerServices;

namespace Vhost.Pci.Dma;

/// <summary>A range of this process's addresses and the device addresses behind it.</summary>
/// <param name="Address">First byte in this process.</param>
/// <param name="Length">Length in bytes.</param>
/// <param name="Iova">The device's address of the first byte.</param>
internal readonly record struct DmaRange(nuint Address, nuint Length, ulong Iova);

/// <summary>
/// The translation from this process's addresses to device addresses. One writer at a time (the domain's lock); readers on any thread take neither
/// lock nor memory: a change publishes a new array.
/// </summary>
internal sealed class DmaTable
{
    private readonly List<DmaRange> _sources = [];
    private DmaRange[] _ranges = [];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryTranslate(nuint address, nuint length, out ulong iova, out nuint contiguous)
    {
        // Acquire: pairs with the release in Publish, so that the array's contents are seen.
        DmaRange[] ranges = Volatile.Read(ref _ranges);
        int low = 0;
        int high = ranges.Length - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            ref DmaRange range = ref ranges[middle];
            if (address < range.Address)
            {
                high = middle - 1;
            }
            else if (address - range.Address >= range.Length)
            {
                low = middle + 1;
            }
            else
            {
                nuint offset = address - range.Address;
                iova = range.Iova + offset;
                contiguous = Math.Min(length, range.Length - offset);
                return true;
            }
        }

        iova = 0;
        contiguous = 0;
        return false;
    }

    public void Add(IEnumerable<DmaRange> ranges)
    {
        _sources.AddRange(ranges);
        Publish();
    }

    public void Remove(IEnumerable<DmaRange> ranges)
    {
        foreach (DmaRange range in ranges)
        {
            _sources.Remove(range);
        }

        Publish();
    }

    private void Publish()
    {
        // Neighbours whose device addresses follow each other become one range, so that a transfer needs fewer pieces.
        var merged = new List<DmaRange>(_sources.Count);
        foreach (DmaRange range in _sources.OrderBy(r => r.Address))
        {
            if (merged.Count > 0 && merged[^1] is var last && last.Address + last.Length == range.Address && last.Iova + last.Length == range.Iova)
            {
                merged[^1] = last with { Length = last.Length + range.Length };
            }
            else
            {
                merged.Add(range);
            }
        }

        // Release: pairs with the acquire in TryTranslate.
        Volatile.Write(ref _ranges, [.. merged]);
    }
}
