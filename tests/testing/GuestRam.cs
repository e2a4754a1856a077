using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Testing;

/// <summary>
/// A guest's memory: regions of zeroed memory, and an allocator that hands out guest addresses in the first one. A page that nobody may touch lies before and
/// behind each region: whoever leaves a region ends the process.
/// </summary>
public sealed unsafe class GuestRam : IDisposable
{
    private const int GuardBytes = 4096;

    private readonly List<MemoryRegion> _regions = [];
    private readonly List<MemoryMapping> _mappings = [];
    private ulong _next;

    /// <param name="regions">Guest address and length of each region.</param>
    public GuestRam(params (ulong GuestAddress, ulong LengthBytes)[] regions)
    {
        foreach (var (address, length) in regions)
        {
            var mapping = MemoryMapping.Reserve((nuint)length + (2 * GuardBytes));
            _mappings.Add(mapping);
            mapping.Protect(GuardBytes, (nuint)length, MemoryProtection.ReadWrite);
            _regions.Add(new MemoryRegion(address, (nint)mapping.Address + GuardBytes, length, IsWritable: true, new MemoryBacking(MemoryBackingKind.Ram, 4096)));
        }

        _next = regions[0].GuestAddress;
        Map = new GuestMemoryMap(_regions);
    }

    public GuestMemoryMap Map { get; }

    /// <summary>Allocates in the first region.</summary>
    /// <returns>The guest address.</returns>
    public ulong Allocate(ulong lengthBytes, ulong alignmentBytes = 4096)
    {
        var address = (_next + alignmentBytes - 1) / alignmentBytes * alignmentBytes;
        if (address + lengthBytes > _regions[0].GuestAddress + _regions[0].LengthBytes)
        {
            throw new InvalidOperationException("the guest's memory is full");
        }

        _next = address + lengthBytes;
        return address;
    }

    /// <summary>The address in this process of a guest address.</summary>
    public byte* Host(ulong guestAddress)
    {
        foreach (var region in _regions)
        {
            if (guestAddress - region.GuestAddress < region.LengthBytes)
            {
                return (byte*)region.HostAddress + (guestAddress - region.GuestAddress);
            }
        }

        throw new ArgumentOutOfRangeException(nameof(guestAddress), $"0x{guestAddress:x} is not the guest's");
    }

    /// <summary>A piece of the guest's memory.</summary>
    public Span<byte> Span(ulong guestAddress, int lengthBytes) => new(Host(guestAddress), lengthBytes);

    public void Dispose()
    {
        _mappings.ForEach(mapping => mapping.Dispose());
        _mappings.Clear();
        _regions.Clear();
    }
}
