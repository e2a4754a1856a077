using System.Buffers.Binary;

namespace Vhost.VvuDevice;

/// <summary>What a driver's write to the registers asks the device to do.</summary>
internal enum RegisterEffect
{
    /// <summary>Nothing more.</summary>
    None,

    /// <summary>Reset the device.</summary>
    Reset,

    /// <summary>The driver is ready: queues may be used.</summary>
    DriverOk,
}

/// <summary>The common configuration structure (virtio 1.3, section 4.1.4.3) of a device with two queues. The owner's lock guards it.</summary>
internal sealed class VirtioRegisters
{
    /// <summary>Distance of two queues' notification registers.</summary>
    public const uint NotifyMultiplier = 4;

    /// <summary>No vector.</summary>
    public const ushort NoVector = 0xffff;

    /// <summary>The feature bit of vvu devices that forward every message.</summary>
    public const ulong FullForwarding = 1;

    /// <summary>VIRTIO_F_EVENT_IDX.</summary>
    public const ulong EventIndex = 1UL << 29;

    private const ulong AnyLayout = 1UL << 27;
    private const ulong Version1 = 1UL << 32;
    private const ulong AccessPlatform = 1UL << 33;
    private const byte StatusDriverOk = 4;
    private const byte StatusFeaturesOk = 8;
    private const byte StatusNeedsReset = 0x40;
    private const int Bytes = 0x38;
    private readonly int _vectorCount;
    private readonly ulong _offered;
    private uint _deviceFeatureSelect;
    private uint _driverFeatureSelect;
    private ulong _driverFeatures;
    private byte _status;
    private ushort _queueSelect;

    public VirtioRegisters(int vectorCount, bool offersFullForwarding)
    {
        _vectorCount = vectorCount;
        _offered = AnyLayout | EventIndex | Version1 | AccessPlatform | (offersFullForwarding ? FullForwarding : 0);
        Reset();
    }

    /// <summary>The queue of messages to the driver, and that of messages from it.</summary>
    public DeviceQueue[] Queues { get; } = [new("rx"), new("tx")];

    /// <summary>The vector of configuration changes.</summary>
    public ushort ConfigVector { get; private set; }

    /// <summary>Counts configuration changes.</summary>
    public byte Generation { get; set; }

    /// <summary>Whether the driver drives the device.</summary>
    public bool IsDriverOk => (_status & (StatusDriverOk | StatusNeedsReset)) == StatusDriverOk;

    /// <summary>Whether the driver was told that the device needs a reset.</summary>
    public bool NeedsReset => (_status & StatusNeedsReset) != 0;

    /// <summary>Whether the driver has acknowledged that every message passes.</summary>
    public bool HasFullForwarding => (_status & StatusFeaturesOk) != 0 && (_driverFeatures & FullForwarding) != 0;

    /// <summary>Everything as after power on, but for the generation.</summary>
    public void Reset()
    {
        _deviceFeatureSelect = _driverFeatureSelect = 0;
        _driverFeatures = 0;
        _status = 0;
        _queueSelect = 0;
        ConfigVector = NoVector;
        foreach (DeviceQueue queue in Queues)
        {
            queue.Reset();
        }
    }

    /// <summary>The device does nothing more until it is reset.</summary>
    public void Break() => _status |= StatusNeedsReset;

    /// <summary>Reads registers.</summary>
    public void Read(ulong offset, Span<byte> destination)
    {
        Span<byte> image = stackalloc byte[Bytes];
        image.Clear();
        DeviceQueue? queue = Selected;
        Put32(image, 0x00, _deviceFeatureSelect);
        Put32(image, 0x04, _deviceFeatureSelect < 2 ? (uint)(_offered >> (int)(32 * _deviceFeatureSelect)) : 0);
        Put32(image, 0x08, _driverFeatureSelect);
        Put32(image, 0x0c, _driverFeatureSelect < 2 ? (uint)(_driverFeatures >> (int)(32 * _driverFeatureSelect)) : 0);
        Put16(image, 0x10, ConfigVector);
        Put16(image, 0x12, (ushort)Queues.Length);
        image[0x14] = _status;
        image[0x15] = Generation;
        Put16(image, 0x16, _queueSelect);
        if (queue is not null)
        {
            Put16(image, 0x18, queue.Size);
            Put16(image, 0x1a, queue.Vector);
            Put16(image, 0x1c, (ushort)(queue.IsEnabled ? 1 : 0));
            Put16(image, 0x1e, _queueSelect);
            BinaryPrimitives.WriteUInt64LittleEndian(image[0x20..], queue.Descriptors);
            BinaryPrimitives.WriteUInt64LittleEndian(image[0x28..], queue.Driver);
            BinaryPrimitives.WriteUInt64LittleEndian(image[0x30..], queue.Device);
        }

        destination.Clear();
        if (offset < Bytes)
        {
            Span<byte> part = image[(int)offset..];
            part[..Math.Min(part.Length, destination.Length)].CopyTo(destination);
        }
    }

    /// <summary>Writes one register; writes of another width, or to what cannot be written, are ignored as by the published devices.</summary>
    public RegisterEffect Write(ulong offset, ReadOnlySpan<byte> source)
    {
        ulong value = 0;
        for (int i = Math.Min(source.Length, 8) - 1; i >= 0; i--)
        {
            value = (value << 8) | source[i];
        }

        switch (offset, source.Length)
        {
            case (0x00, 4):
                _deviceFeatureSelect = (uint)value;
                break;
            case (0x08, 4):
                _driverFeatureSelect = (uint)value;
                break;
            case (0x0c, 4) when _driverFeatureSelect < 2 && (_status & StatusFeaturesOk) == 0:
                int shift = (int)(32 * _driverFeatureSelect);
                _driverFeatures = (_driverFeatures & ~(0xffff_fffful << shift)) | (value << shift);
                break;
            case (0x10, 2):
                ConfigVector = Checked((ushort)value);
                break;
            case (0x14, 1):
                return WriteStatus((byte)value);
            case (0x16, 2):
                _queueSelect = (ushort)value;
                break;
            default:
                WriteQueue(offset, source.Length, value);
                break;
        }

        return RegisterEffect.None;
    }

    private DeviceQueue? Selected => _queueSelect < Queues.Length ? Queues[_queueSelect] : null;

    private RegisterEffect WriteStatus(byte value)
    {
        if (value == 0)
        {
            return RegisterEffect.Reset;
        }

        // A driver sets bits one by one and never clears any but by a reset.
        byte added = (byte)(value & ~_status & ~StatusNeedsReset);
        if ((added & StatusFeaturesOk) != 0 && ((_driverFeatures & ~_offered) != 0 || (_driverFeatures & Version1) == 0))
        {
            added &= unchecked((byte)~StatusFeaturesOk);
        }

        if ((added & StatusDriverOk) != 0 && ((_status | added) & StatusFeaturesOk) == 0)
        {
            added &= unchecked((byte)~StatusDriverOk);
        }

        _status |= added;
        return (added & StatusDriverOk) != 0 ? RegisterEffect.DriverOk : RegisterEffect.None;
    }

    private void WriteQueue(ulong offset, int width, ulong value)
    {
        if (Selected is not { } queue)
        {
            return;
        }

        if ((offset, width) == (0x1a, 2))
        {
            queue.Vector = Checked((ushort)value);
            return;
        }

        if (queue.IsEnabled)
        {
            return;
        }

        switch (offset, width)
        {
            case (0x18, 2) when value is >= 1 and <= DeviceQueue.MaxSize && ushort.IsPow2((ushort)value):
                queue.Size = (ushort)value;
                break;
            case (0x1c, 2) when value == 1 && (_status & StatusFeaturesOk) != 0:
                queue.Enable((_driverFeatures & EventIndex) != 0);
                break;
            case (0x20, 4) or (0x20, 8) or (0x24, 4):
                queue.Descriptors = Merge(queue.Descriptors, offset - 0x20, width, value);
                break;
            case (0x28, 4) or (0x28, 8) or (0x2c, 4):
                queue.Driver = Merge(queue.Driver, offset - 0x28, width, value);
                break;
            case (0x30, 4) or (0x30, 8) or (0x34, 4):
                queue.Device = Merge(queue.Device, offset - 0x30, width, value);
                break;
        }
    }

    private ushort Checked(ushort vector) => vector < _vectorCount ? vector : NoVector;

    private static ulong Merge(ulong old, ulong at, int width, ulong value) =>
        width == 8 ? value : at == 0 ? (old & 0xffff_ffff_0000_0000) | value : (old & 0xffff_ffff) | (value << 32);

    private static void Put16(Span<byte> image, int at, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(image[at..], value);

    private static void Put32(Span<byte> image, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(image[at..], value);
}
