using System.Numerics;

namespace Vhost.Pci.Dma;

/// <summary>
/// Hands out device addresses from the ranges that an IOMMU can translate. First fit over a list of free ranges; control threads, under the
/// domain's lock.
/// </summary>
internal sealed class IovaAllocator
{
    /// <summary>Nothing below is handed out: address 0 means "none" to some devices, and the first MiB is reserved by some IOMMUs.</summary>
    public const ulong LowestIova = 0x10_0000;

    // Free ranges, ascending, not adjacent; both ends included, so that a range may end at 2^64 - 1.
    private readonly List<(ulong First, ulong Last)> _free = [];

    public IovaAllocator(IEnumerable<(ulong First, ulong Last)> ranges)
    {
        foreach ((ulong first, ulong last) in ranges.OrderBy(r => r.First))
        {
            ulong from = Math.Max(first, LowestIova);
            if (from <= last)
            {
                Insert(from, last);
            }
        }
    }

    public ulong FreeBytes => _free.Aggregate(0UL, (sum, r) => sum + (r.Last - r.First + 1));

    /// <summary>Takes a range whose address is <paramref name="remainder"/> modulo the alignment; false where none is free.</summary>
    public bool TryAllocate(ulong length, ulong alignment, ulong remainder, out ulong iova)
    {
        iova = 0;
        if (length == 0 || !BitOperations.IsPow2(alignment) || remainder >= alignment)
        {
            throw new ArgumentOutOfRangeException(nameof(length), $"{length} bytes at {remainder} modulo {alignment} cannot be allocated");
        }

        for (int i = 0; i < _free.Count; i++)
        {
            (ulong first, ulong last) = _free[i];
            ulong skip = unchecked(remainder - first) & (alignment - 1);
            if (skip > last - first || length - 1 > last - first - skip)
            {
                continue;
            }

            iova = first + skip;
            _free.RemoveAt(i);
            if (iova + (length - 1) != last)
            {
                _free.Insert(i, (iova + length, last));
            }

            if (skip != 0)
            {
                _free.Insert(i, (first, iova - 1));
            }

            return true;
        }

        return false;
    }

    /// <summary>Gives a range back.</summary>
    public void Free(ulong iova, ulong length) => Insert(iova, iova + (length - 1));

    /// <summary>Takes whatever is free in a range out of use, because the IOMMU cannot translate it any more.</summary>
    public void Exclude(ulong first, ulong last)
    {
        for (int i = _free.Count - 1; i >= 0; i--)
        {
            (ulong from, ulong to) = _free[i];
            if (to < first || from > last)
            {
                continue;
            }

            _free.RemoveAt(i);
            if (to > last)
            {
                _free.Insert(i, (last + 1, to));
            }

            if (from < first)
            {
                _free.Insert(i, (from, first - 1));
            }
        }
    }

    private void Insert(ulong first, ulong last)
    {
        int at = 0;
        while (at < _free.Count && _free[at].First < first)
        {
            at++;
        }

        if ((at < _free.Count && _free[at].First <= last) || (at > 0 && _free[at - 1].Last >= first))
        {
            throw new InvalidOperationException($"the device addresses 0x{first:x} to 0x{last:x} are free already");
        }

        if (at < _free.Count && _free[at].First - 1 == last)
        {
            last = _free[at].Last;
            _free.RemoveAt(at);
        }

        if (at > 0 && _free[at - 1].Last + 1 == first)
        {
            first = _free[at - 1].First;
            _free.RemoveAt(--at);
        }

        _free.Insert(at, (first, last));
    }
}
