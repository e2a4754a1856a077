using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Testing.FrontEnd;

/// <summary>
/// Memory of a guest that is none: one or several regions, each in a memfd of its own, with gaps between their guest addresses and user addresses that
/// differ from both, so that a back-end that mixes address spaces up is found out. Memory is taken from it and never given back.
/// </summary>
public sealed unsafe class GuestMemory : IDisposable
{
    private const ulong GuestGap = 1UL << 30;
    private const ulong UserBase = 0x5550_0000_0000;
    private const ulong UserGap = 1UL << 36;

    private readonly List<GuestRegion> _regions = [];

    /// <summary>Creates memory.</summary>
    /// <param name="hugePageSizeBytes">0, or the size of the huge pages to use.</param>
    /// <param name="regionBytes">The length of each region.</param>
    public GuestMemory(ulong hugePageSizeBytes, params ReadOnlySpan<ulong> regionBytes)
    {
        foreach (var bytes in regionBytes)
        {
            Add(bytes, hugePageSizeBytes);
        }
    }

    /// <summary>The regions.</summary>
    public IReadOnlyList<GuestRegion> Regions => _regions;

    /// <summary>Adds a region.</summary>
    /// <param name="lengthBytes">Its length.</param>
    /// <param name="hugePageSizeBytes">0, or the size of the huge pages to use.</param>
    public GuestRegion Add(ulong lengthBytes, ulong hugePageSizeBytes = 0) => Keep(new GuestRegion(Describe(lengthBytes), hugePageSizeBytes));

    /// <summary>Adds a region that is the beginning of a file, for example of another device's BAR.</summary>
    /// <param name="path">The file.</param>
    /// <param name="lengthBytes">Its length.</param>
    public GuestRegion AddFile(string path, ulong lengthBytes) => Keep(new GuestRegion(Describe(lengthBytes), FileIo.Open(path, OpenMode.ReadWrite)));

    /// <summary>Takes memory out of a region.</summary>
    /// <param name="lengthBytes">How much.</param>
    /// <param name="alignment">A power of two.</param>
    /// <param name="regionIndex">Which region.</param>
    public GuestBuffer Allocate(int lengthBytes, int alignment = 16, int regionIndex = 0) => _regions[regionIndex].Allocate(lengthBytes, alignment);

    /// <summary>Announces all regions to a back-end, by one table or one by one.</summary>
    /// <param name="connection">The connection.</param>
    public void Announce(FrontEndConnection connection)
    {
        if ((connection.ProtocolFeatures & ProtocolFeatures.ConfigureMemorySlots) != 0)
        {
            foreach (var region in _regions)
            {
                region.Announce(connection);
            }
        }
        else
        {
            AnnounceTable(connection);
        }
    }

    /// <summary>Announces all regions by one table.</summary>
    /// <param name="connection">The connection.</param>
    public void AnnounceTable(FrontEndConnection connection)
    {
        var payload = new byte[RegionDescription.PrefixBytes + (_regions.Count * RegionDescription.WireBytes)];
        BitConverter.TryWriteBytes(payload, (uint)_regions.Count);
        for (var i = 0; i < _regions.Count; i++)
        {
            _regions[i].Description.Write(payload.AsSpan(RegionDescription.PrefixBytes + (i * RegionDescription.WireBytes)));
        }

        connection.Tell(FrontEndRequest.SetMemoryTable, payload, [.. _regions.Select(region => region.File.Raw)]);
    }

    /// <summary>Removes a region from this object; the caller has withdrawn it from the back-end.</summary>
    /// <param name="region">The region.</param>
    public void Remove(GuestRegion region)
    {
        ArgumentNullException.ThrowIfNull(region);
        _regions.Remove(region);
        region.Dispose();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _regions.ForEach(region => region.Dispose());
        _regions.Clear();
    }

    private RegionDescription Describe(ulong lengthBytes)
    {
        var number = (ulong)_regions.Count;
        var guest = _regions.Count == 0 ? 0 : _regions[^1].Description.GuestAddress + _regions[^1].Description.LengthBytes + GuestGap;
        return new RegionDescription(guest & ~(GuestGap - 1), lengthBytes, UserBase + (number * UserGap), 0);
    }

    private GuestRegion Keep(GuestRegion region)
    {
        _regions.Add(region);
        return region;
    }
}
