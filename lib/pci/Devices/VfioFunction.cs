using Microsoft.Extensions.Logging;
using Vhost.Linux;
using Vhost.Pci.Dma;
using Vhost.VfioUser;

namespace Vhost.Pci.Devices;

/// <summary>A device of this machine, bound to vfio-pci.</summary>
internal sealed unsafe class VfioFunction : PciFunction
{
    private readonly FileDescriptor _device;
    private readonly Action _release;
    private readonly PciPaths _paths;
    private readonly PciAddress _pciAddress;
    private readonly VfioRegionInfo _config;
    private readonly bool _canReset;
    private readonly uint _irqIndex;
    private readonly int _vectors;
    private readonly EventFd _removal = EventFd.Create();
    private readonly IDisposable? _removalWatch;
    private bool _interruptsEnabled;

    private VfioFunction(PciAddress address, PciPaths paths, FileDescriptor device, DmaDomain domain, Action release, ILogger logger)
        : base(address.ToString(), logger)
    {
        _device = device;
        _release = release;
        _paths = paths;
        _pciAddress = address;
        Dma = domain;
        var info = new VfioDeviceInfo { ArgumentBytes = (uint)sizeof(VfioDeviceInfo) };
        _ = Ioctl.Call(device.Raw, Vfio.DeviceGetInfo, &info, "VFIO_DEVICE_GET_INFO");
        _canReset = (info.Flags & Vfio.DeviceCanReset) != 0;
        _config = GetRegion(VfioUserRegions.Config);

        // The indices of vfio-user are those of vfio.
        foreach (uint index in new uint[] { VfioUserIrqs.Msix, VfioUserIrqs.Msi, VfioUserIrqs.Intx })
        {
            uint count = GetIrqCount(index);
            if (count > 0)
            {
                _irqIndex = index;
                _vectors = (int)count;
                break;
            }
        }

        if (GetIrqCount(VfioUserIrqs.Request) > 0)
        {
            SetIrqs(VfioUserIrqs.Request, [_removal.Raw]);
            _removalWatch = EventWatcher.Shared.Watch(_removal.Raw, () =>
            {
                _ = _removal.Drain();
                MarkRemoved("the kernel wants the device back (unbind or unplug)");
            });
        }
    }

    public override int ConfigLengthBytes => _config.Size >= 4096 ? 4096 : 256;

    public override IDmaDomain Dma { get; }

    public override int InterruptVectorCount => _vectors;

    public override bool IsLevelTriggered => _vectors > 0 && _irqIndex == VfioUserIrqs.Intx;

    public static VfioFunction Open(PciAddress address, PciPaths paths, VfioSystem system, ILogger logger)
    {
        (FileDescriptor device, DmaDomain domain, Action release) = system.Open(address, logger);
        VfioFunction? function = null;
        try
        {
            function = new VfioFunction(address, paths, device, domain, release, logger);
            function.Initialise();
            if (domain is PhysicalDmaDomain physical)
            {
                physical.AddDevice(address);
                if (function.IsReset)
                {
                    function.OnReset();
                }
            }

            return function;
        }
        catch (Exception e)
        {
            if (function is not null)
            {
                function.Close();
            }
            else
            {
                device.Dispose();
                release();
            }

            throw e is LinuxException ? new PciException($"{address}: {e.Message}", e) : e;
        }
    }

    public override void UnmaskInterrupt()
    {
        if (!IsLevelTriggered || IsRemoved)
        {
            return;
        }

        var set = new VfioIrqSet
        {
            ArgumentBytes = (uint)sizeof(VfioIrqSet),
            Flags = Vfio.IrqDataNone | Vfio.IrqUnmask,
            Index = VfioUserIrqs.Intx,
            Count = 1,
        };
        int result = Ioctl.TryCall(_device.Raw, Vfio.DeviceSetIrqs, &set);
        if (result < 0)
        {
            MarkRemoved($"its interrupt cannot be unmasked: {Errno.Describe(-result)}");
        }
    }

    protected override void ReadConfigCore(int offset, Span<byte> destination) =>
        FileIo.ReadExactly(_device.Raw, destination, _config.Offset + (ulong)offset);

    protected override void WriteConfigCore(int offset, ReadOnlySpan<byte> source) =>
        FileIo.WriteExactly(_device.Raw, source, _config.Offset + (ulong)offset);

    protected override SegmentedBar OpenBarCore(int index)
    {
        VfioRegionInfo region = GetRegion((uint)index);
        CheckMemoryBar(index, region.Size);
        return new SegmentedBar(this, index, region.Size, SysfsResources.Read(_paths.Device(_pciAddress), index).Address, new Backend(_device, region));
    }

    protected override void EnableInterruptsCore(ReadOnlySpan<int> eventFds)
    {
        // A set of vectors cannot grow: off first. The kernel answers EINVAL where it is off already.
        if (_interruptsEnabled)
        {
            SetIrqs(_irqIndex, []);
            _interruptsEnabled = false;
        }

        if (!eventFds.IsEmpty)
        {
            SetIrqs(_irqIndex, eventFds);
            _interruptsEnabled = true;
        }
    }

    protected override bool ResetCore()
    {
        if (!_canReset)
        {
            return false;
        }

        int result = Ioctl.TryCall(_device.Raw, Vfio.DeviceReset, 0);
        return result >= 0 ? true : throw new LinuxException("ioctl(VFIO_DEVICE_RESET)", -result);
    }

    protected override void OnReset() => (Dma as PhysicalDmaDomain)?.SweepAfterReset(_pciAddress);

    protected override void Close()
    {
        _removalWatch?.Dispose();
        _device.Dispose();
        _removal.Dispose();
        (Dma as PhysicalDmaDomain)?.RemoveDevice(_pciAddress);
        _release();
    }

    private VfioRegionInfo GetRegion(uint index)
    {
        var info = new VfioRegionInfo { ArgumentBytes = (uint)sizeof(VfioRegionInfo), Index = index };
        _ = Ioctl.Call(_device.Raw, Vfio.DeviceGetRegionInfo, &info, "VFIO_DEVICE_GET_REGION_INFO");
        return info;
    }

    private uint GetIrqCount(uint index)
    {
        var info = new VfioIrqInfo { ArgumentBytes = (uint)sizeof(VfioIrqInfo), Index = index };
        return Ioctl.TryCall(_device.Raw, Vfio.DeviceGetIrqInfo, &info) >= 0 && (info.Flags & Vfio.IrqEventFd) != 0 ? info.Count : 0;
    }

    private void SetIrqs(uint index, ReadOnlySpan<int> eventFds)
    {
        byte[] buffer = new byte[sizeof(VfioIrqSet) + (eventFds.Length * sizeof(int))];
        fixed (byte* p = buffer)
        {
            // SAFETY: the buffer holds the structure and one number for each descriptor.
            *(VfioIrqSet*)p = new VfioIrqSet
            {
                ArgumentBytes = (uint)buffer.Length,
                Flags = Vfio.IrqTrigger | (eventFds.IsEmpty ? Vfio.IrqDataNone : Vfio.IrqDataEventFd),
                Index = index,
                Count = (uint)eventFds.Length,
            };
            eventFds.CopyTo(new Span<int>(p + sizeof(VfioIrqSet), eventFds.Length));
            _ = Ioctl.Call(_device.Raw, Vfio.DeviceSetIrqs, p, "VFIO_DEVICE_SET_IRQS");
        }
    }

    private sealed class Backend(FileDescriptor device, VfioRegionInfo region) : IBarBackend
    {
        public MemoryMapping? TryMap(ulong offset, ulong length)
        {
            if ((region.Flags & Vfio.RegionMmap) == 0)
            {
                return null;
            }

            try
            {
                return MemoryMapping.MapShared(device.Raw, region.Offset + offset, (nuint)length);
            }
            catch (LinuxException)
            {
                // The page of the MSI-X table, for example: trapped.
                return null;
            }
        }

        public void Read(ulong offset, Span<byte> destination) => FileIo.ReadExactly(device.Raw, destination, region.Offset + offset);

        public void Write(ulong offset, ReadOnlySpan<byte> source) => FileIo.WriteExactly(device.Raw, source, region.Offset + offset);
    }
}
