using System.Buffers.Binary;

namespace Vhost.VvuDevice;

/// <summary>
/// The device's PCI configuration space: what the published devices show, without the legacy I/O BAR 0, which no modern driver uses and in whose place is the memory
/// that full forwarding needs. The owner's lock guards it.
/// </summary>
internal sealed class PciConfigSpace
{
    /// <summary>Its length: a conventional PCI device's.</summary>
    public const int LengthBytes = 256;

    /// <summary>The virtio device id that vvu was given.</summary>
    public const ushort VirtioDeviceId = 24;

    private const byte VendorCapability = 0x09;
    private const byte MsixCapability = 0x11;
    private const int Command = 0x04;
    private const int Status = 0x06;
    private const ushort InterruptDisable = 1 << 10;
    private const byte InterruptStatus = 1 << 3;
    private readonly byte[] _bytes = new byte[LengthBytes];
    private readonly byte[] _writable = new byte[LengthBytes];
    private readonly int _msix;
    private byte _next;

    /// <summary>Makes the space of a layout, with interrupt pin A or with none, with the memory in BAR 0 or without.</summary>
    public PciConfigSpace(DeviceLayout layout, bool hasInterruptLine, bool hasTracking)
    {
        Put16(0x00, 0x1af4);
        Put16(0x02, 0x1017); // transitional id, so that the device is recognised in a conventional slot
        Put16(Status, 0x0010); // a capability list
        _bytes[0x0a] = 0xff; // class 00ff: others
        if (hasTracking)
        {
            PutBar(0x10, TrackingMemory.BarBytes, is64Bit: false);
        }

        PutBar(0x10 + 4, layout.VectorBarBytes, is64Bit: false);
        PutBar(0x10 + 8, DeviceLayout.MemoryBarBytes, is64Bit: true);
        PutBar(0x10 + 16, DeviceLayout.VirtioBarBytes, is64Bit: true);
        Put16(0x2c, 0x1af4);
        Put16(0x2e, VirtioDeviceId);
        _bytes[0x3d] = (byte)(hasInterruptLine ? 1 : 0); // interrupt pin A, or none
        // I/O, memory, bus master, parity, SERR, interrupt disable; cache line size, latency timer, interrupt line.
        BinaryPrimitives.WriteUInt16LittleEndian(_writable.AsSpan(Command), 0x0547);
        _writable[0x0c] = _writable[0x0d] = _writable[0x3c] = 0xff;
        int at = 0x40;
        if (layout.HasCapabilities)
        {
            at = PutVirtio(at, 6, 2, 0, layout.DoorbellBytes, layout.DoorbellStride);
            at = PutVirtio(at, 7, 2, (uint)DeviceLayout.NotificationOffset, DeviceLayout.PageBytes);
            at = PutVirtio(at, 8, 2, (uint)layout.MemoryOffset, DeviceLayout.PageBytes);
        }

        at = PutVirtio(at, 1, 4, 0, DeviceLayout.PageBytes);
        at = PutVirtio(at, 3, 4, DeviceLayout.PageBytes, DeviceLayout.PageBytes);
        at = PutVirtio(at, 4, 4, 2 * DeviceLayout.PageBytes, DeviceLayout.PageBytes);
        at = PutVirtio(at, 2, 4, 3 * DeviceLayout.PageBytes, DeviceLayout.PageBytes, VirtioRegisters.NotifyMultiplier);
        Window = at;
        at = PutVirtio(at, 5, 0, 0, 0, 0);
        _writable[Window + 4] = 0xff;
        _writable.AsSpan(Window + 8, 8).Fill(0xff);
        _msix = at;
        _bytes[at] = MsixCapability;
        _bytes[at + 1] = _next;
        Put16(at + 2, (ushort)(layout.VectorCount - 1));
        Put32(at + 4, 1); // the table: BAR 1, offset 0
        Put32(at + 8, layout.PendingOffset | 1);
        _writable[at + 3] = 0xc0;
        _bytes[0x34] = (byte)at;
    }

    /// <summary>Offset of the capability through which BARs can be reached (virtio 1.3, section 4.1.4.9); its data follow at + 16.</summary>
    public int Window { get; }

    /// <summary>What that capability points to.</summary>
    public (int Bar, uint Offset, uint Length) WindowTarget =>
        (_bytes[Window + 4], BinaryPrimitives.ReadUInt32LittleEndian(_bytes.AsSpan(Window + 8)), BinaryPrimitives.ReadUInt32LittleEndian(_bytes.AsSpan(Window + 12)));

    /// <summary>Whether the driver uses MSI-X.</summary>
    public bool IsMsixEnabled => (_bytes[_msix + 3] & 0x80) != 0;

    /// <summary>Whether there is an interrupt pin.</summary>
    public bool HasLine => _bytes[0x3d] != 0;

    /// <summary>Whether the driver switched the interrupt line off.</summary>
    public bool IsLineDisabled => (BinaryPrimitives.ReadUInt16LittleEndian(_bytes.AsSpan(Command)) & InterruptDisable) != 0;

    /// <summary>Shows whether an interrupt by line is pending; the disable bit does not matter to it (PCI 3.0, section 6.2.3).</summary>
    public bool IsLinePending
    {
        set => _bytes[Status] = (byte)(value ? _bytes[Status] | InterruptStatus : _bytes[Status] & ~InterruptStatus);
    }

    /// <summary>Reads; the range lies within.</summary>
    public void Read(int offset, Span<byte> destination) => _bytes.AsSpan(offset, destination.Length).CopyTo(destination);

    /// <summary>Writes what can be written; the range lies within.</summary>
    public void Write(int offset, ReadOnlySpan<byte> source)
    {
        for (int i = 0; i < source.Length; i++)
        {
            byte mask = _writable[offset + i];
            _bytes[offset + i] = (byte)((_bytes[offset + i] & ~mask) | (source[i] & mask));
        }
    }

    /// <summary>A reset of the function: decoding, mastering and interrupts are off.</summary>
    public void Reset()
    {
        Put16(Command, 0);
        _bytes[Status] &= unchecked((byte)~InterruptStatus);
        _bytes[_msix + 3] &= 0x3f;
        _bytes[Window + 4] = 0;
        _bytes.AsSpan(Window + 8, 8).Clear();
    }

    private void PutBar(int at, ulong lengthBytes, bool is64Bit)
    {
        ulong mask = ~(lengthBytes - 1);
        _bytes[at] = (byte)(is64Bit ? 0x0c : 0); // 64-bit, prefetchable
        BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(at), (uint)mask & ~15u);
        if (is64Bit)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(at + 4), (uint)(mask >> 32));
        }
    }

    private int PutVirtio(int at, byte type, byte bar, uint offset, uint length, uint? extra = null)
    {
        int bytes = extra is null ? 16 : 20;
        _bytes[at] = VendorCapability;
        _bytes[at + 1] = _next;
        _bytes[at + 2] = (byte)bytes;
        _bytes[at + 3] = type;
        _bytes[at + 4] = bar;
        Put32(at + 8, offset);
        Put32(at + 12, length);
        if (extra is uint value)
        {
            Put32(at + 16, value);
        }

        _next = (byte)at;
        return at + bytes;
    }

    private void Put16(int at, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(_bytes.AsSpan(at), value);

    private void Put32(int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(at), value);
}
