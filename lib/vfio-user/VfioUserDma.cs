using System.Runtime.CompilerServices;
using Vhost.Linux;

namespace Vhost.VfioUser;

/// <summary>
/// The client's memory as the device sees it. Look-ups are lock-free and allocate nothing, from any thread; the server's thread changes the table.
/// </summary>
/// <remarks>
/// The peer can truncate a file that it passed; an access beyond the new end raises SIGBUS, as for every program that maps a file of
/// somebody else. Files that are too short from the start are refused.
/// </remarks>
public sealed class VfioUserDma
{
    /// <summary>DMA regions that may exist at a time.</summary>
    public const int MaxRegions = 65535;

    private VfioUserDmaRegion[] _regions = [];

    /// <summary>The regions in ascending order of device address.</summary>
    public IReadOnlyList<VfioUserDmaRegion> Regions => Volatile.Read(ref _regions);

    /// <summary>
    /// Translates a device address. True means that all bytes lie in one mapped region with the right; valid until the region's
    /// <see cref="IVfioUserDevice.OnDmaUnmapped"/> has returned.
    /// </summary>
    /// <param name="iova">First device address.</param>
    /// <param name="length">Length in bytes.</param>
    /// <param name="forWriting">Whether the device writes.</param>
    /// <param name="address">Address in this process.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryTranslate(ulong iova, ulong length, bool forWriting, out nint address)
    {
        VfioUserDmaRegion? region = Find(iova, length);
        if (region is null || region.Address == 0 || !(forWriting ? region.IsWritable : region.IsReadable))
        {
            address = 0;
            return false;
        }

        address = region.Address + (nint)(iova - region.Iova);
        return true;
    }

    /// <summary>The region that holds all of a range, or null.</summary>
    /// <param name="iova">First device address.</param>
    /// <param name="length">Length in bytes.</param>
    public VfioUserDmaRegion? Find(ulong iova, ulong length)
    {
        // Acquire: pairs with the publication in Replace.
        VfioUserDmaRegion[] regions = Volatile.Read(ref _regions);
        int low = 0;
        int high = regions.Length - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            VfioUserDmaRegion region = regions[middle];
            if (iova < region.Iova)
            {
                high = middle - 1;
            }
            else if (iova - region.Iova >= region.Size)
            {
                low = middle + 1;
            }
            else
            {
                return length <= region.Size - (iova - region.Iova) ? region : null;
            }
        }

        return null;
    }

    internal static void Check(ulong iova, ulong size)
    {
        if (size == 0 || size - 1 > ulong.MaxValue - iova)
        {
            throw new VfioUserException(Errno.EINVAL, $"the DMA region 0x{iova:x} has the impossible size 0x{size:x}");
        }
    }

    internal void Add(VfioUserDmaRegion region)
    {
        VfioUserDmaRegion[] old = _regions;
        if (old.Length >= MaxRegions)
        {
            throw new VfioUserException(Errno.ENOSPC, $"more than {MaxRegions} DMA regions");
        }

        int at = 0;
        while (at < old.Length && old[at].Iova < region.Iova)
        {
            at++;
        }

        if (at < old.Length && old[at].Iova - region.Iova < region.Size)
        {
            throw new VfioUserException(Errno.EEXIST, $"the DMA region 0x{region.Iova:x} overlaps the one at 0x{old[at].Iova:x}");
        }

        if (at > 0 && region.Iova - old[at - 1].Iova < old[at - 1].Size)
        {
            throw new VfioUserException(Errno.EEXIST, $"the DMA region 0x{region.Iova:x} overlaps the one at 0x{old[at - 1].Iova:x}");
        }

        // Release: pairs with the acquire in Find.
        Volatile.Write(ref _regions, [.. old.AsSpan(0, at), region, .. old.AsSpan(at)]);
    }

    internal VfioUserDmaRegion? Exact(ulong iova, ulong size) =>
        Find(iova, size) is { } region && region.Iova == iova && region.Size == size ? region : null;

    internal void Remove(VfioUserDmaRegion region) => Volatile.Write(ref _regions, [.. _regions.Where(r => r != region)]);
}
