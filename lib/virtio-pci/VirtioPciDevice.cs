using System.Buffers.Binary;
using System.Diagnostics;
using Vhost.Pci;

namespace Vhost.VirtioPci;

/// <summary>
/// A modern virtio PCI device from the driver's side (virtio 1.3, section 4.1). Control thread only, but for
/// <see cref="VirtioPciQueue.Notify"/>. It does not own the PCI device.
/// </summary>
public sealed class VirtioPciDevice
{
    /// <summary>Vendor id of virtio devices.</summary>
    public const ushort VendorId = 0x1af4;

    /// <summary>No MSI-X vector.</summary>
    public const ushort NoVector = 0xffff;

    private const ulong Version1 = 1UL << 32;
    private const uint CommonLengthBytes = 56;
    private static readonly TimeSpan ResetLimit = TimeSpan.FromSeconds(5);
    private readonly PciBar _commonBar;
    private readonly ulong _common;
    private readonly PciBar _notifyBar;
    private readonly VirtioPciCapability _notify;
    private readonly uint _notifyMultiplier;
    private readonly PciBar? _isrBar;
    private readonly ulong _isr;
    private readonly PciBar? _deviceBar;
    private readonly VirtioPciCapability _deviceConfig;

    /// <summary>Finds the device's structures.</summary>
    /// <param name="device">The PCI device.</param>
    /// <exception cref="PciException">It is not a modern virtio device: says what is missing.</exception>
    public VirtioPciDevice(IPciDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        Device = device;
        if (device.Identity.VendorId != VendorId)
        {
            throw new PciException($"{device.Address}: vendor 0x{device.Identity.VendorId:x4} is not virtio's (0x{VendorId:x4})");
        }

        Capabilities = VirtioPciCapabilities.Read(device);
        var common = Find(VirtioPciCapabilityType.Common) ?? throw new PciException(
            $"{device.Address}: the device has no modern virtio interface (it is legacy or transitional-only); QEMU: add disable-legacy=on, or disable-modern=off");
        _notify = Find(VirtioPciCapabilityType.Notify) ?? throw new PciException($"{device.Address}: the device has no notification structure");
        if (_notify.CapabilityLengthBytes < 20)
        {
            throw new PciException($"{device.Address}: the notification capability is {_notify.CapabilityLengthBytes} bytes long instead of 20");
        }

        _commonBar = VirtioPciCapabilities.OpenBar(device, common, "common configuration", CommonLengthBytes);
        _common = common.OffsetBytes;
        _notifyBar = VirtioPciCapabilities.OpenBar(device, _notify, "notification", 2);
        Span<byte> multiplier = stackalloc byte[4];
        device.ReadConfig(_notify.CapabilityOffset + 16, multiplier);
        _notifyMultiplier = BinaryPrimitives.ReadUInt32LittleEndian(multiplier);
        if (Find(VirtioPciCapabilityType.Isr) is { } isr)
        {
            _isrBar = VirtioPciCapabilities.OpenBar(device, isr, "ISR", 1);
            _isr = isr.OffsetBytes;
        }

        if (Find(VirtioPciCapabilityType.Device) is { } config)
        {
            _deviceBar = VirtioPciCapabilities.OpenBar(device, config, "device configuration", 1);
            _deviceConfig = config;
        }
    }

    /// <summary>The PCI device.</summary>
    public IPciDevice Device { get; }

    /// <summary>All vendor-specific capabilities, the device type's own among them.</summary>
    public IReadOnlyList<VirtioPciCapability> Capabilities { get; }

    /// <summary>The virtio device id: 8 for a SCSI host.</summary>
    public int DeviceId => Device.Identity.DeviceId >= 0x1040 ? Device.Identity.DeviceId - 0x1040 : Device.Identity.SubsystemId;

    /// <summary>How many queues the device has.</summary>
    public int QueueCount => _commonBar.Read16(_common + 0x12);

    /// <summary>The device status.</summary>
    public VirtioDeviceStatus Status
    {
        get => (VirtioDeviceStatus)_commonBar.Read8(_common + 0x14);
        private set => _commonBar.Write8(_common + 0x14, (byte)value);
    }

    /// <summary>Length of the device-specific configuration, 0 if there is none.</summary>
    public uint ConfigLengthBytes => _deviceBar is null ? 0 : _deviceConfig.LengthBytes;

    /// <summary>The first structure of a type, or null.</summary>
    /// <param name="type">The type.</param>
    public VirtioPciCapability? Find(byte type)
    {
        foreach (var capability in Capabilities)
        {
            if (capability.Type == type)
            {
                return capability;
            }
        }

        return null;
    }

    /// <summary>Resets the device and waits until it says so: it touches no memory afterwards.</summary>
    /// <exception cref="PciException">It did not within 5 s.</exception>
    public void Reset()
    {
        Status = VirtioDeviceStatus.None;
        var start = Stopwatch.GetTimestamp();
        while (Status != VirtioDeviceStatus.None)
        {
            if (Device.Removed.IsCancellationRequested || Stopwatch.GetElapsedTime(start) > ResetLimit)
            {
                throw new PciException($"{Device.Address}: the device did not reset within {ResetLimit.TotalSeconds} s (status 0x{(byte)Status:x2})");
            }

            Device.Removed.WaitHandle.WaitOne(1);
        }
    }

    /// <summary>Resets the device and agrees on features (virtio 1.3, section 3.1.1).</summary>
    /// <param name="wanted">What the driver can use; VERSION_1 is always asked for.</param>
    /// <returns>What both have.</returns>
    /// <exception cref="PciException">The device has no VERSION_1 or refused.</exception>
    public ulong Negotiate(ulong wanted)
    {
        Reset();
        Status = VirtioDeviceStatus.Acknowledge;
        Status = VirtioDeviceStatus.Acknowledge | VirtioDeviceStatus.Driver;
        _commonBar.Write32(_common, 0);
        ulong offered = _commonBar.Read32(_common + 4);
        _commonBar.Write32(_common, 1);
        offered |= (ulong)_commonBar.Read32(_common + 4) << 32;
        if ((offered & Version1) == 0)
        {
            throw new PciException($"{Device.Address}: the device does not offer VIRTIO_F_VERSION_1 (features 0x{offered:x}); a legacy device cannot be driven");
        }

        var accepted = offered & (wanted | Version1);
        _commonBar.Write32(_common + 8, 0);
        _commonBar.Write32(_common + 0xc, (uint)accepted);
        _commonBar.Write32(_common + 8, 1);
        _commonBar.Write32(_common + 0xc, (uint)(accepted >> 32));
        Status = VirtioDeviceStatus.Acknowledge | VirtioDeviceStatus.Driver | VirtioDeviceStatus.FeaturesOk;
        return (Status & VirtioDeviceStatus.FeaturesOk) != 0
            ? accepted
            : throw new PciException($"{Device.Address}: the device refused the features 0x{accepted:x} of the 0x{offered:x} that it offers");
    }

    /// <summary>Lets the device work: queues are set up.</summary>
    public void SetDriverOk() =>
        Status = VirtioDeviceStatus.Acknowledge | VirtioDeviceStatus.Driver | VirtioDeviceStatus.FeaturesOk | VirtioDeviceStatus.DriverOk;

    /// <summary>Chooses the vector of configuration changes.</summary>
    /// <param name="vector">The vector or <see cref="NoVector"/>.</param>
    /// <returns>Whether the device took it.</returns>
    public bool TrySetConfigVector(ushort vector)
    {
        _commonBar.Write16(_common + 0x10, vector);
        return _commonBar.Read16(_common + 0x10) == vector;
    }

    /// <summary>Reads and so clears the ISR status: bit 0 a queue, bit 1 the configuration.</summary>
    public byte ReadIsr() => _isrBar?.Read8(_isr) ?? 0;

    /// <summary>The greatest size of a queue; 0 if there is no such queue.</summary>
    /// <param name="index">The queue.</param>
    public int GetMaxQueueSize(int index)
    {
        if (index >= QueueCount)
        {
            return 0;
        }

        _commonBar.Write16(_common + 0x16, (ushort)index);
        return _commonBar.Read16(_common + 0x18);
    }

    /// <summary>Sets a queue up and enables it.</summary>
    /// <param name="index">The queue.</param>
    /// <param name="size">Its size, at most what <see cref="GetMaxQueueSize"/> says.</param>
    /// <param name="descriptors">The device's address of the descriptor table or ring.</param>
    /// <param name="driver">The device's address of the driver area.</param>
    /// <param name="device">The device's address of the device area.</param>
    /// <param name="vector">The MSI-X vector or <see cref="NoVector"/>.</param>
    /// <exception cref="PciException">The device refused the vector, or its notification address lies outside its BAR.</exception>
    public VirtioPciQueue EnableQueue(int index, int size, ulong descriptors, ulong driver, ulong device, ushort vector)
    {
        _commonBar.Write16(_common + 0x16, (ushort)index);
        _commonBar.Write16(_common + 0x18, (ushort)size);
        _commonBar.Write16(_common + 0x1a, vector);
        if (_commonBar.Read16(_common + 0x1a) != vector)
        {
            throw new PciException($"{Device.Address}: the device has no resources for interrupt vector {vector} of queue {index}");
        }

        ulong offset = (ulong)_commonBar.Read16(_common + 0x1e) * _notifyMultiplier;
        if (offset > _notify.LengthBytes - 2)
        {
            throw new PciException($"{Device.Address}: the notification address of queue {index} (0x{offset:x}) lies outside the structure of 0x{_notify.LengthBytes:x} bytes");
        }

        WriteAddress(0x20, descriptors);
        WriteAddress(0x28, driver);
        WriteAddress(0x30, device);
        _commonBar.Write16(_common + 0x1c, 1);
        return new VirtioPciQueue(_notifyBar, _notify.OffsetBytes + offset, index);
    }

    /// <summary>Reads device-specific configuration, consistently: once more if it changed meanwhile (virtio 1.3, section 2.5).</summary>
    /// <param name="offsetBytes">Where.</param>
    /// <param name="destination">What to fill; bytes past the end of the structure are 0.</param>
    public void ReadDeviceConfig(uint offsetBytes, Span<byte> destination)
    {
        destination.Clear();
        if (_deviceBar is null)
        {
            return;
        }

        // A device whose generation never settles is not waited for.
        for (var attempt = 0; attempt < 16; attempt++)
        {
            var before = _commonBar.Read8(_common + 0x15);
            for (var i = 0; i < destination.Length && offsetBytes + (uint)i < _deviceConfig.LengthBytes;)
            {
                var at = offsetBytes + (uint)i;
                var left = Math.Min(destination.Length - i, (int)(_deviceConfig.LengthBytes - at));
                // Fields are naturally aligned, so the widest access that fits never tears one.
                if (at % 4 == 0 && left >= 4)
                {
                    BinaryPrimitives.WriteUInt32LittleEndian(destination[i..], _deviceBar.Read32(_deviceConfig.OffsetBytes + at));
                    i += 4;
                }
                else if (at % 2 == 0 && left >= 2)
                {
                    BinaryPrimitives.WriteUInt16LittleEndian(destination[i..], _deviceBar.Read16(_deviceConfig.OffsetBytes + at));
                    i += 2;
                }
                else
                {
                    destination[i++] = _deviceBar.Read8(_deviceConfig.OffsetBytes + at);
                }
            }

            if (_commonBar.Read8(_common + 0x15) == before)
            {
                return;
            }
        }
    }

    /// <summary>Writes a 32-bit field of device-specific configuration.</summary>
    /// <param name="offsetBytes">Where, a multiple of 4.</param>
    /// <param name="value">What.</param>
    /// <exception cref="PciException">The device has no such field.</exception>
    public void WriteDeviceConfig32(uint offsetBytes, uint value)
    {
        if (_deviceBar is null || offsetBytes > _deviceConfig.LengthBytes || _deviceConfig.LengthBytes - offsetBytes < 4)
        {
            throw new PciException($"{Device.Address}: the device configuration has no field at offset {offsetBytes}");
        }

        _deviceBar.Write32(_deviceConfig.OffsetBytes + offsetBytes, value);
    }

    // Two halves: not every device takes a 64-bit access to these fields.
    private void WriteAddress(ulong field, ulong value)
    {
        _commonBar.Write32(_common + field, (uint)value);
        _commonBar.Write32(_common + field + 4, (uint)(value >> 32));
    }
}
