using System.Buffers.Binary;
using Vhost.Pci;

namespace Vhost.VirtioPci;

/// <summary>Finds a virtio device's structures by walking the capability list of configuration space, which the device may have made up.</summary>
public static class VirtioPciCapabilities
{
    private const int StatusOffset = 0x06;
    private const int ListOffset = 0x34;
    private const int StatusHasList = 0x10;
    private const byte VendorSpecific = 0x09;
    private const int CommonLengthBytes = 16;

    /// <summary>Reads all of them, in the order of the list.</summary>
    /// <param name="device">The device.</param>
    /// <exception cref="PciException">The list loops or leaves configuration space, or a structure of the standard's lies outside its BAR.</exception>
    public static IReadOnlyList<VirtioPciCapability> Read(IPciDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        var found = new List<VirtioPciCapability>();
        Span<byte> header = stackalloc byte[256];
        device.ReadConfig(0, header);
        if ((BinaryPrimitives.ReadUInt16LittleEndian(header[StatusOffset..]) & StatusHasList) == 0)
        {
            return found;
        }

        // Capabilities lie in the first 256 bytes at multiples of 4: no list is longer than 48 entries unless it loops.
        var offset = header[ListOffset] & ~3;
        for (var budget = 48; offset != 0; budget--)
        {
            if (budget == 0 || offset < 0x40)
            {
                throw new PciException($"{device.Address}: the capability list is broken at offset 0x{offset:x2}: it {(budget == 0 ? "loops" : "points into the header")}");
            }

            var length = header[offset + 2];
            if (header[offset] == VendorSpecific && length >= CommonLengthBytes && offset + length <= header.Length)
            {
                var capability = header.Slice(offset, length);
                found.Add(new(
                    capability[3],
                    capability[4],
                    BinaryPrimitives.ReadUInt32LittleEndian(capability[8..]),
                    BinaryPrimitives.ReadUInt32LittleEndian(capability[12..]),
                    offset,
                    length));
            }

            offset = header[offset + 1] & ~3;
        }

        return found;
    }

    /// <summary>Opens the BAR of a structure after checking that the structure lies within it.</summary>
    /// <param name="device">The device.</param>
    /// <param name="capability">The structure.</param>
    /// <param name="name">For messages.</param>
    /// <param name="minimumLengthBytes">The least length that makes sense.</param>
    /// <exception cref="PciException">It does not.</exception>
    public static PciBar OpenBar(IPciDevice device, VirtioPciCapability capability, string name, uint minimumLengthBytes)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (capability.BarIndex > 5)
        {
            throw new PciException($"{device.Address}: the {name} structure claims BAR {capability.BarIndex}");
        }

        var bar = device.OpenBar(capability.BarIndex);
        if (capability.LengthBytes < minimumLengthBytes || capability.OffsetBytes > bar.LengthBytes || capability.LengthBytes > bar.LengthBytes - capability.OffsetBytes)
        {
            throw new PciException(
                $"{device.Address}: the {name} structure (offset 0x{capability.OffsetBytes:x}, length 0x{capability.LengthBytes:x}) does not fit BAR {capability.BarIndex} of 0x{bar.LengthBytes:x} bytes, or is shorter than 0x{minimumLengthBytes:x}");
        }

        return bar;
    }
}
