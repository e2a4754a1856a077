using System.Buffers.Binary;
using Microsoft.Extensions.Logging;
using Vhost.Linux;

namespace Vhost.Pci.Devices;

/// <summary>Common to the three ways to a device: configuration space, BARs by index, removal, the order of closing.</summary>
internal abstract partial class PciFunction : IPciDevice
{
    internal const int CommandOffset = 0x04; // PCI Local Bus 3.0, section 6.2.2
    internal const ushort CommandBusMaster = 1 << 2;
    protected const ushort CommandMemory = 1 << 1;
    protected const ushort CommandInterruptDisable = 1 << 10;
    protected const byte MsixCapability = 0x11;

    private const int MaxCapabilities = 48;

    private readonly CancellationTokenSource _removed = new();
    private readonly Lock _lock = new();
    private readonly SegmentedBar?[] _bars = new SegmentedBar?[6];
    private List<EventFd> _interrupts = [];
    private int _isRemoved;
    private bool _disposed;

    protected PciFunction(string address, ILogger logger)
    {
        Address = address;
        Logger = logger;
        Removed = _removed.Token;
    }

    /// <summary>Raised once, when the device was let go of.</summary>
    internal event Action? Closed;

    public string Address { get; }

    public PciIdentity Identity { get; private set; }

    public abstract int ConfigLengthBytes { get; }

    public abstract IDmaDomain Dma { get; }

    public abstract int InterruptVectorCount { get; }

    public abstract bool IsLevelTriggered { get; }

    public CancellationToken Removed { get; }

    /// <summary>Whether the device has gone. One load; on the way of each register access.</summary>
    internal bool IsRemoved => Volatile.Read(ref _isRemoved) != 0;

    protected ILogger Logger { get; }

    /// <summary>Whether the device was reset since it was opened: by the platform, or else by its driver, which allows DMA only then.</summary>
    protected bool IsReset { get; private set; }

    public void ReadConfig(int offsetBytes, Span<byte> destination)
    {
        CheckConfig(offsetBytes, destination.Length);
        Guard(offsetBytes, destination, static (self, offset, bytes) => self.ReadConfigCore(offset, bytes));
    }

    public void WriteConfig(int offsetBytes, ReadOnlySpan<byte> source)
    {
        CheckConfig(offsetBytes, source.Length);
        try
        {
            WriteConfigCore(offsetBytes, source);
        }
        catch (Exception e) when (e is IOException and not PciException)
        {
            throw Lost(e);
        }
    }

    public PciBar OpenBar(int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(index, 5);
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            try
            {
                return _bars[index] ??= OpenBarCore(index);
            }
            catch (Exception e) when (e is IOException and not PciException)
            {
                throw Lost(e);
            }
        }
    }

    public IReadOnlyList<int> EnableInterrupts(int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        if (count > InterruptVectorCount)
        {
            throw new PciException($"{Address}: {count} interrupt vectors were asked for, the device has {InterruptVectorCount}");
        }

        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            var eventFds = new List<EventFd>(count);
            try
            {
                for (int i = 0; i < count; i++)
                {
                    eventFds.Add(EventFd.Create());
                }

                int[] raw = [.. eventFds.Select(e => e.Raw)];
                EnableInterruptsCore(raw);
                _interrupts.ForEach(e => e.Dispose());
                _interrupts = eventFds;
                return raw;
            }
            catch (Exception e)
            {
                eventFds.ForEach(f => f.Dispose());
                throw e is IOException and not PciException ? Lost(e) : e;
            }
        }
    }

    public abstract void UnmaskInterrupt();

    public void SetBusMastering(bool enabled)
    {
        if (enabled && !IsReset)
        {
            IsReset = true;
            OnReset();
        }

        ushort command = ReadConfig16(CommandOffset);
        ushort wanted = (ushort)(enabled ? command | CommandBusMaster | CommandMemory : command & ~CommandBusMaster);
        if (wanted != command)
        {
            WriteConfig16(CommandOffset, wanted);
        }
    }

    public bool TryReset()
    {
        if (IsRemoved)
        {
            return false;
        }

        try
        {
            return ResetCore();
        }
        catch (IOException e)
        {
            LogDeviceResetFailed(Logger, Address, e.Message);
            return false;
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
        }

        // First the device stops its DMA, then it loses interrupts, registers and memory.
        if (!IsRemoved)
        {
            try
            {
                SetBusMastering(false);
                EnableInterruptsCore([]);
            }
            catch (IOException e)
            {
                LogDeviceCloseFailed(Logger, Address, e.Message);
            }

            _ = TryReset();
        }

        foreach (SegmentedBar? bar in _bars)
        {
            bar?.Dispose();
        }

        DmaStatistics statistics = Dma.Statistics;
        LogDeviceReleased(Logger, Address, statistics.BouncedTransfers, statistics.BouncedBytes);
        Close();
        _interrupts.ForEach(e => e.Dispose());
        _removed.Dispose();
        Closed?.Invoke();
    }

    /// <summary>The device has gone: registers read as ones from now on. The token is cancelled on another thread.</summary>
    internal void MarkRemoved(string reason)
    {
        if (Interlocked.Exchange(ref _isRemoved, 1) == 0)
        {
            LogDeviceRemoved(Logger, Address, reason);
            try
            {
                _ = _removed.CancelAsync();
            }
            catch (ObjectDisposedException)
            {
                // Closed at the same moment: nobody listens any more.
            }
        }
    }

    /// <summary>Reads the identity and leaves the device without DMA and with its registers reachable.</summary>
    protected void Initialise()
    {
        Span<byte> header = stackalloc byte[64];
        ReadConfig(0, header);
        ushort vendor = BinaryPrimitives.ReadUInt16LittleEndian(header);
        if (vendor is 0 or 0xffff)
        {
            throw new PciException($"{Address}: the device does not answer (vendor 0x{vendor:x4}); check that it is there and not in a low-power state");
        }

        if ((header[0x0e] & 0x7f) != 0)
        {
            throw new PciException($"{Address}: header type {header[0x0e] & 0x7f} is a bridge, only endpoints can be driven");
        }

        Identity = new PciIdentity(
            vendor,
            BinaryPrimitives.ReadUInt16LittleEndian(header[2..]),
            BinaryPrimitives.ReadUInt32LittleEndian(header[8..]) >> 8,
            header[8],
            BinaryPrimitives.ReadUInt16LittleEndian(header[0x2c..]),
            BinaryPrimitives.ReadUInt16LittleEndian(header[0x2e..]));
        SetBusMastering(false);
        IsReset = TryReset();
        WriteConfig16(CommandOffset, (ushort)((ReadConfig16(CommandOffset) | CommandMemory) & ~CommandBusMaster));
    }

    protected ushort ReadConfig16(int offset)
    {
        Span<byte> value = stackalloc byte[2];
        ReadConfig(offset, value);
        return BinaryPrimitives.ReadUInt16LittleEndian(value);
    }

    protected uint ReadConfig32(int offset)
    {
        Span<byte> value = stackalloc byte[4];
        ReadConfig(offset, value);
        return BinaryPrimitives.ReadUInt32LittleEndian(value);
    }

    protected void WriteConfig16(int offset, ushort value)
    {
        Span<byte> bytes = stackalloc byte[2];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, value);
        WriteConfig(offset, bytes);
    }

    /// <summary>Offset of a capability, or 0. The list is the device's: bounded, and each offset checked.</summary>
    protected int FindCapability(byte id)
    {
        const int StatusOffset = 0x06;
        const ushort StatusCapabilities = 1 << 4;
        if ((ReadConfig16(StatusOffset) & StatusCapabilities) == 0)
        {
            return 0;
        }

        Span<byte> header = stackalloc byte[2];
        ReadConfig(0x34, header[..1]);
        int at = header[0] & ~3;
        for (int i = 0; i < MaxCapabilities && at is >= 0x40 and <= 0xfc; i++)
        {
            ReadConfig(at, header);
            if (header[0] == id)
            {
                return at;
            }

            at = header[1] & ~3;
        }

        return 0;
    }

    /// <summary>Throws where a BAR is no memory BAR of the given length.</summary>
    protected void CheckMemoryBar(int index, ulong length)
    {
        uint register = ReadConfig32(0x10 + (index * 4));
        if (length == 0 || (register & 1) != 0)
        {
            throw new PciException($"{Address}: BAR {index} is {(length == 0 ? "not there" : "an I/O port BAR")}, a memory BAR was asked for");
        }
    }

    protected abstract void ReadConfigCore(int offset, Span<byte> destination);

    protected abstract void WriteConfigCore(int offset, ReadOnlySpan<byte> source);

    protected abstract SegmentedBar OpenBarCore(int index);

    /// <summary>Connects the first vectors, or disconnects all where there are none.</summary>
    protected abstract void EnableInterruptsCore(ReadOnlySpan<int> eventFds);

    protected abstract bool ResetCore();

    /// <summary>Nothing that an earlier user of the device asked for is under way any more.</summary>
    protected virtual void OnReset()
    {
    }

    /// <summary>Lets go of the device; its DMA has been stopped.</summary>
    protected abstract void Close();

    private delegate void ConfigRead(PciFunction self, int offset, Span<byte> destination);

    private void Guard(int offset, Span<byte> destination, ConfigRead read)
    {
        try
        {
            read(this, offset, destination);
        }
        catch (Exception e) when (e is IOException and not PciException)
        {
            throw Lost(e);
        }
    }

    private PciException Lost(Exception e) => new($"{Address}: {e.Message}", e);

    private void CheckConfig(int offset, int count)
    {
        if (offset < 0 || count > ConfigLengthBytes || offset > ConfigLengthBytes - count)
        {
            throw new PciException($"{Address}: 0x{offset:x} + {count} lies outside of the configuration space of {ConfigLengthBytes} bytes");
        }

        if (IsRemoved)
        {
            throw new PciException($"{Address}: the device is gone");
        }
    }

    [LoggerMessage(EventId = 1400, Level = LogLevel.Error, Message = "{Address}: the device is gone: {Reason}")]
    private static partial void LogDeviceRemoved(ILogger logger, string address, string reason);

    [LoggerMessage(EventId = 1401, Level = LogLevel.Information, Message = "{Address}: released; {Transfers} transfers ({Bytes} bytes) of its DMA domain went through bounce buffers")]
    private static partial void LogDeviceReleased(ILogger logger, string address, long transfers, long bytes);

    [LoggerMessage(EventId = 1402, Level = LogLevel.Warning, Message = "{Address}: the reset failed: {Reason}")]
    private static partial void LogDeviceResetFailed(ILogger logger, string address, string reason);

    [LoggerMessage(EventId = 1403, Level = LogLevel.Warning, Message = "{Address}: the device could not be stopped: {Reason}")]
    private static partial void LogDeviceCloseFailed(ILogger logger, string address, string reason);
}
