using System.Runtime.InteropServices;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Virtio;

/// <summary>
/// A guest's memory map in the form that the rings use: an immutable, pinned table in ascending order of guest address. Any thread may read it.
/// </summary>
public sealed unsafe class GuestAddressSpace
{
    private readonly GuestRegion[] _table;

    /// <summary>Prepares a map.</summary>
    /// <param name="map">The map; its regions stay mapped as long as this object is used.</param>
    public GuestAddressSpace(GuestMemoryMap map)
    {
        ArgumentNullException.ThrowIfNull(map);
        // Pinned, so that the table can be walked by pointer; the object keeps it alive.
        _table = GC.AllocateArray<GuestRegion>(Math.Max(1, map.Regions.Length), pinned: true);
        Count = map.Regions.Length;
        for (var i = 0; i < Count; i++)
        {
            var region = map.Regions[i];
            _table[i] = new GuestRegion
            {
                GuestAddress = region.GuestAddress,
                LengthBytes = region.LengthBytes,
                HostAddress = (byte*)region.HostAddress,
                IsWritable = region.IsWritable,
            };
        }
    }

    /// <summary>A guest without memory.</summary>
    public static GuestAddressSpace Empty { get; } = new(GuestMemoryMap.Empty);

    /// <summary>Number of regions.</summary>
    public int Count { get; }

    /// <summary>The first region; <see cref="Count"/> follow each other.</summary>
    // SAFETY: the array is pinned for its whole life, which is at least that of this object.
    internal GuestRegion* Regions => (GuestRegion*)Marshal.UnsafeAddrOfPinnedArrayElement(_table, 0);

    /// <summary>Finds the region that holds a guest address.</summary>
    /// <param name="guestAddress">The address.</param>
    /// <returns>The region, or null.</returns>
    internal GuestRegion* Find(ulong guestAddress)
    {
        var regions = Regions;
        var low = 0;
        var high = Count - 1;
        while (low <= high)
        {
            var middle = (low + high) >>> 1;
            var region = regions + middle;
            if (guestAddress < region->GuestAddress)
            {
                high = middle - 1;
            }
            else if (guestAddress - region->GuestAddress >= region->LengthBytes)
            {
                low = middle + 1;
            }
            else
            {
                return region;
            }
        }

        return null;
    }

    /// <summary>Translates a range that must lie within one region.</summary>
    /// <param name="guestAddress">Guest address of the first byte.</param>
    /// <param name="lengthBytes">Length.</param>
    /// <param name="isWrite">Whether the range is going to be written.</param>
    /// <param name="hostAddress">Address of the first byte in this process.</param>
    /// <returns>Whether the whole range lies in one region that permits the access.</returns>
    public bool TryTranslate(ulong guestAddress, ulong lengthBytes, bool isWrite, out byte* hostAddress)
    {
        var region = Find(guestAddress);
        if (region == null || (isWrite && !region->IsWritable) || lengthBytes > region->LengthBytes - (guestAddress - region->GuestAddress))
        {
            hostAddress = null;
            return false;
        }

        hostAddress = region->HostAddress + (guestAddress - region->GuestAddress);
        return true;
    }

    /// <summary>Whether memory of it went away and was replaced by zeroes. Slow.</summary>
    public bool HasFault()
    {
        for (var i = 0; i < Count; i++)
        {
            if (MemoryFaultGuard.HasFault((nint)Regions[i].HostAddress, Regions[i].LengthBytes))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Finds the guest address of a host address, for the dirty log. Slow: it looks at every region.</summary>
    /// <param name="hostAddress">An address within a region.</param>
    /// <param name="guestAddress">The guest's address of the same byte.</param>
    /// <returns>Whether the address lies in a region.</returns>
    public bool TryGetGuestAddress(byte* hostAddress, out ulong guestAddress)
    {
        var regions = Regions;
        for (var i = 0; i < Count; i++)
        {
            var offset = (ulong)hostAddress - (ulong)regions[i].HostAddress;
            if (offset < regions[i].LengthBytes)
            {
                guestAddress = regions[i].GuestAddress + offset;
                return true;
            }
        }

        guestAddress = 0;
        return false;
    }
}
