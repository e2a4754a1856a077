using Vhost.VfioUser;

namespace Vhost.VvuDevice;

/// <summary>
/// The device: registers for the driver's side, a vhost-user server for the other VM's. Two threads come here, vfio-user's with the driver's accesses and this
/// object's own with sockets and eventfds; one lock guards everything. Nothing waits while it is held, but for memory.
/// </summary>
internal sealed partial class VvuPciDevice : IVfioUserDevice, IDisposable
{
    private const int ReceiveQueue = 0;
    private const int SendQueue = 1;
    private const int TrappedAccessLimit = 1000;
    private const byte IsrQueue = 1;
    private const byte IsrConfig = 2;
    private readonly Lock _gate = new();
    private readonly DeviceLayout _layout;
    private readonly Action<string> _report;
    private readonly ComputeMemory _memory;
    private readonly TrackingMemory? _tracking;
    private readonly Forwarding _forwarding;
    private readonly PciConfigSpace _config;
    private readonly VirtioRegisters _registers;
    private readonly byte[] _vectorTable;
    private readonly ushort[] _kickVectors = new ushort[DeviceLayout.MaxQueues];
    private readonly byte[] _uuid = new byte[16];
    private readonly VfioUserRegion[] _regions = new VfioUserRegion[VfioUserRegions.Count];
    private readonly byte[] _messageBuffer = new byte[Forwarding.MaxMessageBytes];
    private ushort _notificationSelect;
    private byte _isr;
    private bool _hasRaisedLine;
    private int _trappedAccesses;
    private VfioUserSession? _session;

    /// <summary>Makes the device and begins to listen for the other VM.</summary>
    /// <param name="options">What the command line says.</param>
    /// <param name="report">Receives lines for the log; any thread.</param>
    public VvuPciDevice(DeviceOptions options, Action<string> report)
    {
        _layout = options.Layout;
        _report = report;
        _config = new PciConfigSpace(_layout, options.HasInterruptLine, hasTracking: !options.IsPublishedOnly);
        _registers = new VirtioRegisters(_layout.VectorCount, !options.IsPublishedOnly);
        _vectorTable = new byte[_layout.VectorBarBytes];
        if (_layout.HasCapabilities)
        {
            Guid.NewGuid().TryWriteBytes(_uuid);
        }

        Array.Fill(_kickVectors, VirtioRegisters.NoVector);
        _memory = new ComputeMemory(_layout, options.MemoryPath, options.MemoryBytes, report);
        try
        {
            // Only a driver that acknowledges full forwarding gets to use it.
            _tracking = options.IsPublishedOnly ? null : new TrackingMemory(report);
            _forwarding = new Forwarding(_layout, _memory, _tracking);
            Describe();
            StartServing(options.VhostUserSocket);
        }
        catch
        {
            _memory.Dispose();
            _tracking?.Dispose();
            DisposeDoorbells();
            throw;
        }
    }

    /// <inheritdoc/>
    public VfioUserRegion GetRegion(int index) => _regions[index];

    /// <inheritdoc/>
    public VfioUserIrq GetIrq(int index) => index switch
    {
        VfioUserIrqs.Intx when _config.HasLine => new(1, VfioUserIrqFlags.EventFd | VfioUserIrqFlags.Maskable | VfioUserIrqFlags.AutoMasked),
        VfioUserIrqs.Msix => new((uint)_layout.VectorCount, VfioUserIrqFlags.EventFd | VfioUserIrqFlags.NoResize),
        _ => default,
    };

    /// <inheritdoc/>
    public void OnConnected(VfioUserSession session)
    {
        lock (_gate)
        {
            _session = session;
            _hasRaisedLine = false;
            _trappedAccesses = 0;
        }

        _report("the appliance's side is attached");
    }

    /// <inheritdoc/>
    public void OnDisconnected(string reason)
    {
        lock (_gate)
        {
            ResetFunction();
            CloseMaster("the appliance's side has gone");
            _session = null;
        }
    }

    /// <inheritdoc/>
    public void OnDmaUnmapped(VfioUserDmaRegion region)
    {
        // Nobody keeps a translated address outside the lock: once it was free, nobody uses the region.
        lock (_gate)
        {
        }
    }

    /// <inheritdoc/>
    public void Reset()
    {
        lock (_gate)
        {
            ResetFunction();
        }
    }

    /// <inheritdoc/>
    public void OnIrqsChanged(int irqIndex)
    {
        lock (_gate)
        {
            UpdateLine();
        }
    }

    /// <inheritdoc/>
    public void ReadRegion(int region, ulong offset, Span<byte> destination)
    {
        lock (_gate)
        {
            switch (region)
            {
                case VfioUserRegions.Config:
                    ReadConfig((int)offset, destination);
                    break;
                case 0:
                    _tracking?.Read(offset, destination);
                    break;
                case 1:
                    _vectorTable.AsSpan((int)offset, destination.Length).CopyTo(destination);
                    break;
                case 2 when offset >= _layout.MemoryOffset:
                    CountTrappedAccess(offset);
                    _memory.Read(offset, destination);
                    break;
                case 2:
                    ReadNotification(offset, destination);
                    break;
                case 4:
                    ReadVirtio(offset, destination);
                    break;
            }
        }
    }

    /// <inheritdoc/>
    public void WriteRegion(int region, ulong offset, ReadOnlySpan<byte> source)
    {
        lock (_gate)
        {
            switch (region)
            {
                case VfioUserRegions.Config:
                    WriteConfig((int)offset, source);
                    break;
                case 0:
                    _tracking?.Write(offset, source);
                    break;
                case 1:
                    if (offset < _layout.PendingOffset && (ulong)source.Length <= _layout.PendingOffset - offset)
                    {
                        source.CopyTo(_vectorTable.AsSpan((int)offset));
                    }

                    break;
                case 2 when offset < _layout.DoorbellBytes:
                    WriteDoorbell(offset, source.Length);
                    break;
                case 2 when offset >= _layout.MemoryOffset:
                    CountTrappedAccess(offset);
                    _memory.Write(offset, source);
                    break;
                case 2:
                    WriteNotification(offset, source);
                    break;
                case 4:
                    WriteVirtio(offset, source);
                    break;
            }
        }
    }

    private void Describe()
    {
        Array.Fill(_regions, VfioUserRegion.None);
        _regions[1] = new() { Size = _layout.VectorBarBytes };
        _regions[4] = new() { Size = DeviceLayout.VirtioBarBytes };
        _regions[VfioUserRegions.Config] = new() { Size = PciConfigSpace.LengthBytes };
        var memoryBar = new VfioUserRegion
        {
            Size = DeviceLayout.MemoryBarBytes,
            IoEventFds = [.. CreateDoorbells().Select((fd, i) => new VfioUserIoEventFd((ulong)i * _layout.DoorbellStride, 2, fd, null))],
        };
        _regions[2] = _memory.FileBytes == 0 ? memoryBar : memoryBar with
        {
            // A client adds an area's offset to this one, modulo 2^64: the file begins where its area does.
            MapFd = _memory.FileDescriptorNumber,
            MapOffset = unchecked(0 - ComputeMemory.FileOffset),
            MapAreas = [new VfioUserArea(ComputeMemory.FileOffset, _memory.FileBytes)],
        };
        if (_tracking is not null)
        {
            _regions[0] = new()
            {
                Size = TrackingMemory.BarBytes, MapFd = _tracking.FileDescriptorNumber, MapAreas = [new VfioUserArea(0, TrackingMemory.MappedBytes)],
            };
        }
    }

    private void ReadConfig(int offset, Span<byte> destination)
    {
        if (offset == _config.Window + 16 && destination.Length <= 4 && IsWindowOpen(destination.Length, out int bar, out uint at))
        {
            ReadRegion(bar, at, destination);
            return;
        }

        _config.Read(offset, destination);
    }

    private void WriteConfig(int offset, ReadOnlySpan<byte> source)
    {
        if (offset == _config.Window + 16 && source.Length <= 4 && IsWindowOpen(source.Length, out int bar, out uint at))
        {
            WriteRegion(bar, at, source);
            return;
        }

        _config.Write(offset, source);
        UpdateLine();
    }

    private bool IsWindowOpen(int width, out int bar, out uint offset)
    {
        (bar, offset, uint length) = _config.WindowTarget;
        return bar is 1 or 2 or 4 && length == (uint)width && length is 1 or 2 or 4 && offset % length == 0 && offset < _regions[bar].Size;
    }

    private void ReadVirtio(ulong offset, Span<byte> destination)
    {
        destination.Clear();
        ulong at = offset % DeviceLayout.PageBytes;
        switch (offset / DeviceLayout.PageBytes)
        {
            case 0:
                _registers.Read(at, destination);
                break;
            case 1 when at == 0 && destination.Length > 0:
                // Reading clears it and lets go of the line (virtio 1.3, section 4.1.4.5).
                destination[0] = _isr;
                _isr = 0;
                UpdateLine();
                break;
            case 2:
                Span<byte> device = stackalloc byte[24];
                BitConverter.TryWriteBytes(device, _linkStatus);
                BitConverter.TryWriteBytes(device[4..], (uint)DeviceLayout.MaxQueues);
                _uuid.CopyTo(device[8..]);
                if (at < 24)
                {
                    device = device[(int)at..];
                    device[..Math.Min(device.Length, destination.Length)].CopyTo(destination);
                }

                break;
        }
    }

    private void WriteVirtio(ulong offset, ReadOnlySpan<byte> source)
    {
        ulong at = offset % DeviceLayout.PageBytes;
        switch (offset / DeviceLayout.PageBytes)
        {
            case 0:
                switch (_registers.Write(at, source))
                {
                    case RegisterEffect.Reset:
                        ResetVirtio();
                        break;
                    case RegisterEffect.DriverOk:
                        ProcessSent();
                        PumpMaster();
                        break;
                }

                break;
            case 2 when at < 4:
                Span<byte> status = stackalloc byte[4];
                BitConverter.TryWriteBytes(status, _linkStatus);
                source[..Math.Min(source.Length, 4 - (int)at)].CopyTo(status[(int)at..]);
                WriteLinkStatus(BitConverter.ToUInt32(status));
                break;
            case 3 when at / VirtioRegisters.NotifyMultiplier == SendQueue:
                ProcessSent();
                break;
            case 3 when at / VirtioRegisters.NotifyMultiplier == ReceiveQueue:
                PumpMaster();
                break;
        }
    }

    private void ReadNotification(ulong offset, Span<byte> destination)
    {
        destination.Clear();
        if (!_layout.HasCapabilities || offset < DeviceLayout.NotificationOffset || offset >= DeviceLayout.NotificationOffset + 4)
        {
            return;
        }

        Span<byte> image = stackalloc byte[4];
        BitConverter.TryWriteBytes(image, _notificationSelect);
        BitConverter.TryWriteBytes(image[2..], _notificationSelect < DeviceLayout.MaxQueues ? _kickVectors[_notificationSelect] : VirtioRegisters.NoVector);
        image = image[(int)(offset - DeviceLayout.NotificationOffset)..];
        image[..Math.Min(image.Length, destination.Length)].CopyTo(destination);
    }

    private void WriteNotification(ulong offset, ReadOnlySpan<byte> source)
    {
        if (!_layout.HasCapabilities || source.Length is not (2 or 4))
        {
            return;
        }

        if (offset == DeviceLayout.NotificationOffset)
        {
            _notificationSelect = BitConverter.ToUInt16(source);
            source = source[2..];
            offset += 2;
        }

        if (offset == DeviceLayout.NotificationOffset + 2 && source.Length >= 2 && _notificationSelect < DeviceLayout.MaxQueues)
        {
            ushort vector = BitConverter.ToUInt16(source);
            _kickVectors[_notificationSelect] = vector < _layout.VectorCount ? vector : VirtioRegisters.NoVector;
        }
    }

    // What the client could map and yet reaches by messages is a mistake that costs nearly all of the speed: it is said once, with what helps.
    private void CountTrappedAccess(ulong offset)
    {
        if (offset - ComputeMemory.FileOffset < _memory.FileBytes && ++_trappedAccesses == TrappedAccessLimit)
        {
            _report(
                $"the appliance's side has reached the other VM's memory by {TrappedAccessLimit} messages, some 10000 times slower than a load, although it could map it: "
                + (_hasRaisedLine
                    ? "QEMU stops mapping it at the first interrupt of the device's line; start vvu-device with --no-interrupt-line, and the Appliance VM anew"
                    : "its hypervisor did not map it, or maps it no more"));
        }
    }

    private void WriteDoorbell(ulong offset, int width)
    {
        if (width is >= 1 and <= 4)
        {
            _master?.Ring((int)(offset / _layout.DoorbellStride));
        }
    }

    private void ResetFunction()
    {
        _config.Reset();
        _vectorTable.AsSpan().Clear();
        ResetVirtio();
    }

    private void ResetVirtio()
    {
        // Before the features are forgotten: they decide about the other VM's connection.
        GoDown("the appliance's driver reset the device");
        _registers.Reset();
        _isr = 0;
        _notificationSelect = 0;
        Array.Fill(_kickVectors, VirtioRegisters.NoVector);
        UpdateLine();
    }

    private void RaiseConfig()
    {
        if (_registers.IsDriverOk || _registers.NeedsReset)
        {
            _registers.Generation++;
            Raise(_registers.ConfigVector, IsrQueue | IsrConfig);
        }
    }

    private void Raise(ushort vector, byte cause)
    {
        if (_config.IsMsixEnabled && vector != VirtioRegisters.NoVector)
        {
            _session?.Interrupts.Trigger(VfioUserIrqs.Msix, vector);
        }

        // The cause is shown with MSI-X too, as by the published devices: their driver reads it.
        _isr |= cause;
        UpdateLine();
    }

    private void UpdateLine()
    {
        bool isPending = _isr != 0 && !_config.IsMsixEnabled;
        _config.IsLinePending = isPending;
        if (!_config.HasLine)
        {
            return;
        }

        bool isRaised = isPending && !_config.IsLineDisabled;
        _hasRaisedLine |= isRaised;
        _session?.Interrupts.SetLevel(VfioUserIrqs.Intx, 0, isRaised);
    }

    private void Fail(string reason)
    {
        _report($"the appliance's driver broke the device, which does nothing until it is reset: {reason}");
        _registers.Break();
        RaiseConfig();
    }
}
