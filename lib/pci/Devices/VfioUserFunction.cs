using Microsoft.Extensions.Logging;
using Vhost.Linux;
using Vhost.Pci.Dma;
using Vhost.VfioUser;

namespace Vhost.Pci.Devices;

/// <summary>A device in another process, behind a vfio-user socket.</summary>
internal sealed class VfioUserFunction : PciFunction
{
    private const int MsiCapability = 0x05;

    private readonly VfioUserClient _client;
    private readonly VfioUserClientRegion _config;
    private readonly int _irqIndex = -1;
    private readonly int _vectors;
    private readonly List<VfioUserClientRegion> _regions = [];
    private readonly List<FileDescriptor> _doorbells = [];
    private readonly CancellationTokenRegistration _disconnected;

    private VfioUserFunction(VfioUserClient client, ILogger logger)
        : base(client.Path, logger)
    {
        _client = client;
        if (!client.Device.IsPci || client.Device.RegionCount < VfioUserRegions.Count || client.Device.IrqCount < VfioUserIrqs.Msix + 1)
        {
            throw new PciException($"{Address}: the server offers no PCI device ({client.Device})");
        }

        _config = client.GetRegion(VfioUserRegions.Config);
        if (_config.Size < 256)
        {
            throw new PciException($"{Address}: the configuration space has {_config.Size} bytes, 256 are the least");
        }

        foreach (int index in new[] { VfioUserIrqs.Msix, VfioUserIrqs.Msi, VfioUserIrqs.Intx })
        {
            VfioUserIrq irq = client.GetIrq(index);
            if (irq.Count > 0 && irq.Flags.HasFlag(VfioUserIrqFlags.EventFd))
            {
                _irqIndex = index;
                _vectors = (int)irq.Count;
                break;
            }
        }

        Dma = new VfioUserDmaDomain(client, logger);
        _disconnected = client.Disconnected.Register(() => MarkRemoved(client.DisconnectReason ?? "the connection is closed"));
    }

    public override int ConfigLengthBytes => _config.Size >= 4096 ? 4096 : 256;

    public override IDmaDomain Dma { get; }

    public override int InterruptVectorCount => _vectors;

    public override bool IsLevelTriggered => _irqIndex == VfioUserIrqs.Intx;

    public static VfioUserFunction Open(string path, ILogger logger)
    {
        VfioUserClient client;
        try
        {
            client = VfioUserClient.Connect(path);
        }
        catch (Exception e) when (e is LinuxException or VfioUserException or ArgumentException)
        {
            throw new PciException($"{path}: no vfio-user device answers there: {e.Message}; start its server first, and check the path and its permissions", e);
        }

        try
        {
            var function = new VfioUserFunction(client, logger);
            function.Initialise();
            return function;
        }
        catch (Exception e)
        {
            client.Dispose();
            throw e is VfioUserException ? new PciException($"{path}: {e.Message}", e) : e;
        }
    }

    public override void UnmaskInterrupt()
    {
        if (IsLevelTriggered && !IsRemoved)
        {
            try
            {
                _client.SetIrqMasked(_irqIndex, 0, isMasked: false);
            }
            catch (VfioUserException e) when (_client.DisconnectReason is not null)
            {
                MarkRemoved(e.Message);
            }
            catch (VfioUserException)
            {
                // A server whose line is not maskable refuses; its interrupts come again by themselves.
            }
        }
    }

    protected override void ReadConfigCore(int offset, Span<byte> destination) =>
        _client.ReadRegion(VfioUserRegions.Config, (ulong)offset, destination);

    protected override void WriteConfigCore(int offset, ReadOnlySpan<byte> source) =>
        _client.WriteRegion(VfioUserRegions.Config, (ulong)offset, source);

    protected override SegmentedBar OpenBarCore(int index)
    {
        VfioUserClientRegion region = _client.GetRegion(index);
        _regions.Add(region);
        CheckMemoryBar(index, region.Size);
        return new SegmentedBar(this, index, region.Size, physicalAddress: 0, new Backend(_client, region, Doorbells(index)));
    }

    protected override void EnableInterruptsCore(ReadOnlySpan<int> eventFds)
    {
        if (_irqIndex < 0)
        {
            return;
        }

        _client.DisableIrqs(_irqIndex);
        if (!eventFds.IsEmpty)
        {
            _client.SetIrqEventFds(_irqIndex, 0, eventFds);
        }

        // No kernel stands between: the enable bits are the driver's to set.
        switch (_irqIndex)
        {
            case VfioUserIrqs.Msix:
                SetMsixEnabled(eventFds.Length);
                break;
            case VfioUserIrqs.Msi when FindCapability(MsiCapability) is var msi and not 0:
                ushort control = ReadConfig16(msi + 2);
                WriteConfig16(msi + 2, (ushort)(eventFds.IsEmpty ? control & ~1 : control | 1));
                break;
            case VfioUserIrqs.Intx:
                ushort command = ReadConfig16(CommandOffset);
                WriteConfig16(CommandOffset, (ushort)(eventFds.IsEmpty ? command | CommandInterruptDisable : command & ~CommandInterruptDisable));
                break;
        }
    }

    protected override bool ResetCore()
    {
        if (!_client.Device.CanReset)
        {
            return false;
        }

        _client.Reset();
        return true;
    }

    protected override void Close()
    {
        _disconnected.Unregister();
        _config.Dispose();
        _regions.ForEach(r => r.Dispose());
        _doorbells.ForEach(d => d.Dispose());
        _client.Dispose();
    }

    // Registers that the server takes by eventfd: doorbells, whose value does not matter. A write to one costs no message and waits for nobody.
    private Dictionary<ulong, VfioUserClientIoEventFd> Doorbells(int index)
    {
        var doorbells = new Dictionary<ulong, VfioUserClientIoEventFd>();
        try
        {
            foreach (VfioUserClientIoEventFd eventFd in _client.GetRegionIoEventFds(index))
            {
                // One whose value matters stands for some writes only: those go by message.
                if (eventFd.DataMatch is not null || !doorbells.TryAdd(eventFd.Offset, eventFd))
                {
                    eventFd.Fd.Dispose();
                }
            }
        }
        catch (VfioUserException) when (_client.DisconnectReason is null)
        {
            // A server that has none may refuse the question.
        }

        _doorbells.AddRange(doorbells.Values.Select(doorbell => doorbell.Fd));
        return doorbells;
    }

    private void SetMsixEnabled(int vectors)
    {
        // PCI Local Bus 3.0, section 6.8.2: message control, and the table's BAR and offset.
        const ushort Enable = 1 << 15;
        const ushort FunctionMask = 1 << 14;
        int msix = FindCapability(MsixCapability);
        if (msix == 0)
        {
            return;
        }

        ushort control = ReadConfig16(msix + 2);
        WriteConfig16(msix + 2, (ushort)(vectors == 0 ? control & ~Enable : (control | Enable) & ~FunctionMask));
        uint table = ReadConfig32(msix + 4);
        int bar = (int)(table & 7);
        ulong offset = table & ~7u;
        VfioUserClientRegion region;
        if (vectors == 0 || bar > 5)
        {
            return;
        }

        // Vectors start masked: bit 0 of the last of each entry's four words.
        region = _client.GetRegion(bar);
        using (region)
        {
            for (ulong i = 0; i < (ulong)vectors && offset + (i * 16) + 16 <= region.Size; i++)
            {
                _client.WriteRegion(bar, offset + (i * 16) + 12, [0, 0, 0, 0]);
            }
        }
    }

    private sealed class Backend(VfioUserClient client, VfioUserClientRegion region, Dictionary<ulong, VfioUserClientIoEventFd> doorbells) : IBarBackend
    {
        public MemoryMapping? TryMap(ulong offset, ulong length) => region.TryMap(offset, length);

        public void Read(ulong offset, Span<byte> destination)
        {
            try
            {
                client.ReadRegion(region.Index, offset, destination);
            }
            catch (VfioUserException) when (destination.Length == 8 && client.DisconnectReason is null)
            {
                // A device that knows no 64-bit access: the lower half first.
                client.ReadRegion(region.Index, offset, destination[..4]);
                client.ReadRegion(region.Index, offset + 4, destination[4..]);
            }
        }

        public void Write(ulong offset, ReadOnlySpan<byte> source)
        {
            if (doorbells.TryGetValue(offset, out VfioUserClientIoEventFd? doorbell) && (doorbell.Size == 0 || doorbell.Size == (ulong)source.Length))
            {
                _ = EventFd.SignalRaw(doorbell.Fd.Raw);
                return;
            }

            try
            {
                client.WriteRegion(region.Index, offset, source);
            }
            catch (VfioUserException) when (source.Length == 8 && client.DisconnectReason is null)
            {
                client.WriteRegion(region.Index, offset, source[..4]);
                client.WriteRegion(region.Index, offset + 4, source[4..]);
            }
        }
    }
}
