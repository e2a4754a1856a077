using System.Collections.Immutable;

namespace Vhost.Abstractions;

/// <summary>
/// A guest's memory at one time: regions in ascending order of guest address that do not overlap. Immutable; a change of the guest's
/// memory is a new map. The regions stay mapped until each session and queue that was given the map has let go of it: see <see cref="IVirtioSession.SetMemoryAsync"/>.
/// </summary>
public sealed class GuestMemoryMap
{
    /// <summary>A guest without memory.</summary>
    public static readonly GuestMemoryMap Empty = new([]);

    /// <summary>Sorts and checks the regions.</summary>
    /// <param name="regions">The regions, in any order.</param>
    /// <exception cref="ArgumentException">A region is empty, wraps, or overlaps another.</exception>
    public GuestMemoryMap(IEnumerable<MemoryRegion> regions)
    {
        Regions = [.. regions.OrderBy(region => region.GuestAddress)];
        for (var i = 0; i < Regions.Length; i++)
        {
            var region = Regions[i];
            if (region.LengthBytes == 0 || region.LengthBytes - 1 > ulong.MaxValue - region.GuestAddress)
            {
                throw new ArgumentException($"the region at guest address 0x{region.GuestAddress:x} has the impossible length 0x{region.LengthBytes:x}", nameof(regions));
            }

            if (i > 0 && region.GuestAddress - Regions[i - 1].GuestAddress < Regions[i - 1].LengthBytes)
            {
                throw new ArgumentException($"the region at guest address 0x{region.GuestAddress:x} overlaps the one at 0x{Regions[i - 1].GuestAddress:x}", nameof(regions));
            }
        }
    }

    /// <summary>The regions in ascending order of guest address.</summary>
    public ImmutableArray<MemoryRegion> Regions { get; }
}
