using System.Globalization;
using Microsoft.Extensions.Logging;
using Vhost.Linux;
using Vhost.Pci.Dma;

namespace Vhost.Pci.Devices;

/// <summary>
/// A device of this machine, bound to uio_pci_generic: registers through sysfs, physical addresses, INTx through /dev/uioN. The kernel clears bus
/// mastering when /dev/uioN is closed, so it stays open as long as the device.
/// </summary>
internal sealed unsafe class UioFunction : PciFunction
{
    private readonly string _directory;
    private readonly PciAddress _pciAddress;
    private readonly PhysicalDmaDomain _domain;
    private readonly FileDescriptor _uio;
    private readonly FileDescriptor _config;
    private readonly bool _hasInterrupt;
    private readonly List<FileDescriptor> _resources = [];
    private IDisposable? _interruptWatch;

    private UioFunction(PciAddress address, string directory, PhysicalDmaDomain domain, FileDescriptor uio, FileDescriptor config, ILogger logger)
        : base(address.ToString(), logger)
    {
        _pciAddress = address;
        _directory = directory;
        _domain = domain;
        _uio = uio;
        _config = config;
        ConfigLengthBytes = FileStatus.Of(config.Raw).Size >= 4096 ? 4096 : 256;

        // The pin that the device names, and the line that the kernel found for it.
        Span<byte> pin = stackalloc byte[1];
        ReadConfig(0x3d, pin);
        string irq = Path.Combine(directory, "irq");
        _hasInterrupt = pin[0] is >= 1 and <= 4 && File.Exists(irq)
            && int.TryParse(File.ReadAllText(irq).AsSpan().Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out int line) && line > 0;
    }

    public override int ConfigLengthBytes { get; }

    public override IDmaDomain Dma => _domain;

    public override int InterruptVectorCount => _hasInterrupt ? 1 : 0;

    public override bool IsLevelTriggered => _hasInterrupt;

    public static UioFunction Open(PciAddress address, PciPaths paths, PhysicalDmaDomain domain, ILogger logger)
    {
        string directory = paths.Device(address);
        string uioDirectory = Path.Combine(directory, "uio");
        string name = (Directory.Exists(uioDirectory) ? Directory.EnumerateDirectories(uioDirectory).Select(Path.GetFileName).FirstOrDefault() : null)
            ?? throw new PciException($"{address}: bound to uio_pci_generic, but the kernel made no uio device for it; see its log");
        FileDescriptor? uio = null;
        FileDescriptor? config = null;
        try
        {
            // The lock comes first: at each close of /dev/uioN, anybody's, the kernel takes bus mastering from the device.
            config = FileIo.Open(Path.Combine(directory, "config"), OpenMode.ReadWrite);
            lock (domain.ClaimLock)
            {
                if (!FileLock.TryFlock(config.Raw, exclusive: true))
                {
                    throw new PciException($"{address}: another process drives it through /dev/{name}");
                }
            }

            uio = FileIo.Open(Path.Combine(paths.Dev, name), OpenMode.ReadWrite | OpenMode.NonBlocking);
            var function = new UioFunction(address, directory, domain, uio, config, logger);
            function.Initialise();
            function.SetInterruptDisabled(true);

            domain.AddDevice(address);
            if (function.IsReset)
            {
                function.OnReset();
            }

            return function;
        }
        catch (Exception e)
        {
            uio?.Dispose();
            config?.Dispose();
            throw e is LinuxException or UnauthorizedAccessException
                ? new PciException($"{address}: {e.Message}; driving a device through uio needs root, or the rights to /dev/{name} and to its files in sysfs", e)
                : e;
        }
    }

    public override void UnmaskInterrupt()
    {
        // The kernel's handler sets the disable bit at each interrupt.
        if (_hasInterrupt && !IsRemoved)
        {
            try
            {
                SetInterruptDisabled(false);
            }
            catch (IOException e)
            {
                MarkRemoved(e.Message);
            }
        }
    }

    protected override void ReadConfigCore(int offset, Span<byte> destination) => FileIo.ReadExactly(_config.Raw, destination, (ulong)offset);

    protected override void WriteConfigCore(int offset, ReadOnlySpan<byte> source) => FileIo.WriteExactly(_config.Raw, source, (ulong)offset);

    protected override SegmentedBar OpenBarCore(int index)
    {
        (ulong address, ulong length) = SysfsResources.Read(_directory, index);
        CheckMemoryBar(index, length);
        FileDescriptor file = FileIo.Open(Path.Combine(_directory, "resource" + index.ToString(CultureInfo.InvariantCulture)), OpenMode.ReadWrite);
        _resources.Add(file);
        return new SegmentedBar(this, index, length, address, new Backend(file, address));
    }

    protected override void EnableInterruptsCore(ReadOnlySpan<int> eventFds)
    {
        _interruptWatch?.Dispose();
        _interruptWatch = null;
        if (eventFds.IsEmpty)
        {
            SetInterruptDisabled(true);
            return;
        }

        int eventFd = eventFds[0];
        _ = DrainUio();
        _interruptWatch = EventWatcher.Shared.Watch(_uio.Raw, () =>
        {
            nint result = DrainUio();
            if (result == sizeof(uint))
            {
                _ = EventFd.SignalRaw(eventFd);
            }
            else if (result != -Errno.EAGAIN)
            {
                // Left in the set it would report the error for ever.
                _interruptWatch?.Dispose();
                MarkRemoved("its interrupt line is gone (unbind or unplug)");
            }
        });
        SetInterruptDisabled(false);
    }

    protected override bool ResetCore()
    {
        string reset = Path.Combine(_directory, "reset");
        if (!File.Exists(reset))
        {
            return false;
        }

        using FileDescriptor file = FileIo.Open(reset, OpenMode.WriteOnly);
        FileIo.WriteExactly(file.Raw, "1"u8, 0);
        return true;
    }

    protected override void OnReset() => _domain.SweepAfterReset(_pciAddress);

    protected override void Close()
    {
        _interruptWatch?.Dispose();
        _resources.ForEach(r => r.Dispose());

        // The kernel clears bus mastering here once more; after that no page is written to. The lock goes last.
        _uio.Dispose();
        _config.Dispose();
        _domain.RemoveDevice(_pciAddress);
    }

    private nint DrainUio()
    {
        // A read of uio is exactly one 32-bit count.
        uint count;
        return FileIo.TryReadStream(_uio.Raw, &count, sizeof(uint));
    }

    private void SetInterruptDisabled(bool disabled)
    {
        ushort command = ReadConfig16(CommandOffset);
        WriteConfig16(CommandOffset, (ushort)(disabled ? command | CommandInterruptDisable : command & ~CommandInterruptDisable));
    }

    private sealed class Backend(FileDescriptor file, ulong physical) : IBarBackend, IDisposable
    {
        private MemoryMapping? _small;

        public MemoryMapping? TryMap(ulong offset, ulong length)
        {
            // A BAR smaller than a page may begin inside one.
            if ((physical & 4095) != 0)
            {
                return null;
            }

            try
            {
                return MemoryMapping.MapShared(file.Raw, offset, (nuint)length);
            }
            catch (LinuxException)
            {
                // Then Read and Write say why it cannot be reached.
                return null;
            }
        }

        public void Read(ulong offset, Span<byte> destination)
        {
            byte* p = Small(offset);
            switch (destination.Length)
            {
                case 1:
                    destination[0] = Volatile.Read(ref *p);
                    break;
                case 2:
                    BitConverter.TryWriteBytes(destination, Volatile.Read(ref *(ushort*)p));
                    break;
                case 4:
                    BitConverter.TryWriteBytes(destination, Volatile.Read(ref *(uint*)p));
                    break;
                default:
                    BitConverter.TryWriteBytes(destination, Volatile.Read(ref *(ulong*)p));
                    break;
            }
        }

        public void Write(ulong offset, ReadOnlySpan<byte> source)
        {
            byte* p = Small(offset);
            switch (source.Length)
            {
                case 1:
                    Volatile.Write(ref *p, source[0]);
                    break;
                case 2:
                    Volatile.Write(ref *(ushort*)p, BitConverter.ToUInt16(source));
                    break;
                case 4:
                    Volatile.Write(ref *(uint*)p, BitConverter.ToUInt32(source));
                    break;
                default:
                    Volatile.Write(ref *(ulong*)p, BitConverter.ToUInt64(source));
                    break;
            }
        }

        public void Dispose() => _small?.Dispose();

        private byte* Small(ulong offset)
        {
            // SAFETY: the caller checked the offset against the BAR's length; BARs that come here are smaller than a page and do not cross one,
            // because a BAR is aligned to its size.
            ulong inPage = (physical & 4095) + offset;
            if (inPage >= 4096)
            {
                throw new PciException($"the register at 0x{offset:x} cannot be mapped");
            }

            _small ??= MemoryMapping.MapShared(file.Raw, 0, 4096);
            return _small.Address + inPage;
        }
    }
}
