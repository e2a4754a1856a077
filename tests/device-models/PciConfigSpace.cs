using System.Buffers.Binary;

namespace Vhost.Testing.DeviceModels;

/// <summary>The 256 bytes of configuration space of a device with MSI-X (PCI Local Bus 3.0, sections 6.1 and 6.8.2).</summary>
public sealed class PciConfigSpace
{
    private const int PinOffset = 0x3d;
    private const int MsixOffset = 0x40;
    private int _last;

    public PciConfigSpace(ushort vendorId, ushort deviceId, uint classCode, byte revision = 1)
    {
        Write16(0, vendorId);
        Write16(2, deviceId);
        BinaryPrimitives.WriteUInt32LittleEndian(Bytes.AsSpan(8), (classCode << 8) | revision);
        Write16(0x2c, vendorId);
        Write16(0x2e, deviceId);
    }

    public byte[] Bytes { get; } = new byte[256];

    /// <summary>Whether the function has an interrupt pin (A).</summary>
    public bool HasPin
    {
        get => Bytes[PinOffset] != 0;
        set => Bytes[PinOffset] = (byte)(value ? 1 : 0);
    }

    public void Write16(int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(Bytes.AsSpan(offset), value);

    /// <summary>Adds the MSI-X capability; its table and pending bits lie in one BAR.</summary>
    public void AddMsix(int vectors, int bar, uint tableOffset, uint pendingOffset)
    {
        var capability = new byte[12];
        capability[0] = 0x11;
        BinaryPrimitives.WriteUInt16LittleEndian(capability.AsSpan(2), (ushort)(vectors - 1));
        BinaryPrimitives.WriteUInt32LittleEndian(capability.AsSpan(4), tableOffset | (uint)bar);
        BinaryPrimitives.WriteUInt32LittleEndian(capability.AsSpan(8), pendingOffset | (uint)bar);
        AddCapability(capability);
    }

    /// <summary>Adds a capability to the list's end; its second byte is the link.</summary>
    /// <returns>Where it lies.</returns>
    public int AddCapability(ReadOnlySpan<byte> capability)
    {
        var offset = _last == 0 ? MsixOffset : (_last + Bytes[_last + 1] + 3) & ~3;
        capability.CopyTo(Bytes.AsSpan(offset));
        if (_last == 0)
        {
            Bytes[6] |= 0x10;
            Bytes[0x34] = (byte)offset;
        }
        else
        {
            Bytes[_last + 1] = (byte)offset;
        }

        // While it is the last one, its link holds its length for the next call; see Seal.
        Bytes[offset + 1] = (byte)capability.Length;
        _last = offset;
        return offset;
    }

    /// <summary>Ends the list of capabilities.</summary>
    public void Seal()
    {
        if (_last != 0)
        {
            Bytes[_last + 1] = 0;
        }
    }

    public void Read(int offset, Span<byte> destination) => Bytes.AsSpan(offset, destination.Length).CopyTo(destination);

    /// <summary>A driver's write: the command register, and what lies behind the header.</summary>
    public void Write(int offset, ReadOnlySpan<byte> source)
    {
        if (offset is 4 or 5 or >= 0x40)
        {
            source.CopyTo(Bytes.AsSpan(offset));
        }
    }
}
