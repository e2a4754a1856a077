using System.Diagnostics;
using Vhost.Linux;
using Vhost.VfioUser;

namespace Vhost.Testing.DeviceModels;

/// <summary>
/// What the models have in common: configuration space with MSI-X and an INTx line, and a thread of the model's own that looks at the driver's
/// queues; one lock keeps it and the server's thread apart.
/// </summary>
public abstract class PciModel : IVfioUserDevice, IDisposable
{
    private readonly PciModelSettings _settings;
    private readonly Thread _thread;
    private readonly byte[] _table = new byte[0x1000];
    private volatile bool _stops;
    private bool _isLineHigh;

    /// <summary>The thread starts with <see cref="Start"/>, once the derived model is whole.</summary>
    protected PciModel(PciModelSettings settings, PciConfigSpace config, string name, nuint fileBytes)
    {
        _settings = settings;
        Config = config;
        File = MemoryFile.Create(name, fileBytes);
        _thread = new Thread(Run) { IsBackground = true, Name = name };
    }

    /// <summary>How often the INTx line went high.</summary>
    public long LineRises { get; private set; }

    /// <summary>How often the driver took memory away.</summary>
    public long DmaUnmaps { get; private set; }

    /// <summary>Whose turn it is: the model's thread's, the server's, or a test's.</summary>
    protected Lock Gate { get; } = new();

    /// <summary>The memory behind what of BAR 0 can be mapped.</summary>
    protected MemoryFile File { get; }

    protected PciConfigSpace Config { get; }

    /// <summary>The driver, while it is connected. Under <see cref="Gate"/>.</summary>
    protected VfioUserSession? Session { get; private set; }

    public abstract VfioUserRegion GetRegion(int index);

    public VfioUserIrq GetIrq(int index) => index switch
    {
        VfioUserIrqs.Msix when _settings.Vectors > 0 => new VfioUserIrq((uint)_settings.Vectors, VfioUserIrqFlags.EventFd),
        VfioUserIrqs.Intx when _settings.HasLine => new VfioUserIrq(1, VfioUserIrqFlags.EventFd | VfioUserIrqFlags.Maskable | VfioUserIrqFlags.AutoMasked),
        _ => default,
    };

    public void OnConnected(VfioUserSession session)
    {
        lock (Gate)
        {
            Session = session;
        }
    }

    public void OnDisconnected(string reason)
    {
        lock (Gate)
        {
            LoseDriver();
            Session = null;
            _isLineHigh = false;
        }
    }

    public void OnDmaUnmapped(VfioUserDmaRegion region)
    {
        // No command is under way outside of the lock.
        lock (Gate)
        {
            DmaUnmaps++;
        }
    }

    public virtual void Reset()
    {
        lock (Gate)
        {
            StopDevice();
        }
    }

    public void ReadRegion(int region, ulong offset, Span<byte> destination)
    {
        if (region == VfioUserRegions.Config)
        {
            Config.Read((int)offset, destination);
            return;
        }

        lock (Gate)
        {
            if (offset >= TableOffset && offset < TableOffset + (ulong)_table.Length)
            {
                _table.AsSpan((int)(offset - TableOffset), destination.Length).CopyTo(destination);
            }
            else
            {
                destination.Clear();
                ReadRegisters(offset, destination);
            }
        }
    }

    public void WriteRegion(int region, ulong offset, ReadOnlySpan<byte> source)
    {
        if (region == VfioUserRegions.Config)
        {
            Config.Write((int)offset, source);
            return;
        }

        lock (Gate)
        {
            if (offset >= TableOffset && offset < TableOffset + (ulong)_table.Length)
            {
                source.CopyTo(_table.AsSpan((int)(offset - TableOffset)));
            }
            else
            {
                WriteRegisters(offset, source);
            }
        }
    }

    public virtual void Dispose()
    {
        _stops = true;
        _thread.Join();
        File.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Where in BAR 0 the MSI-X table lies.</summary>
    protected abstract ulong TableOffset { get; }

    /// <summary>Reads registers. Under <see cref="Gate"/>; the destination is zeroes.</summary>
    protected abstract void ReadRegisters(ulong offset, Span<byte> destination);

    /// <summary>Writes registers. Under <see cref="Gate"/>.</summary>
    protected abstract void WriteRegisters(ulong offset, ReadOnlySpan<byte> source);

    /// <summary>Looks at the driver's queues and does what is there. Under <see cref="Gate"/>.</summary>
    /// <returns>How much there was.</returns>
    protected abstract int Work();

    /// <summary>The device's state after a reset. Under <see cref="Gate"/>.</summary>
    protected abstract void StopDevice();

    /// <summary>The driver is gone; its memory goes next. Under <see cref="Gate"/>.</summary>
    protected virtual void LoseDriver() => StopDevice();

    protected void Start() => _thread.Start();

    /// <summary>Takes the INTx line up or down. Under <see cref="Gate"/>.</summary>
    protected void SetLine(bool isHigh)
    {
        if (!_settings.HasLine || Session is null)
        {
            return;
        }

        isHigh |= _isLineHigh && _settings.HoldsLine;
        if (isHigh && !_isLineHigh)
        {
            LineRises++;
        }

        _isLineHigh = isHigh;
        Session.Interrupts.SetLevel(VfioUserIrqs.Intx, 0, isHigh);
    }

    private void Run()
    {
        var lastWork = Stopwatch.GetTimestamp();
        while (!_stops)
        {
            int work;
            lock (Gate)
            {
                work = Work();
            }

            if (work != 0)
            {
                lastWork = Stopwatch.GetTimestamp();
                continue;
            }

            // Rest in steps: a model that spins for ever would starve the driver on a small machine.
            var idle = Stopwatch.GetElapsedTime(lastWork).TotalMilliseconds;
            if (idle < 0.2 || _settings.Spins)
            {
                Thread.SpinWait(1);
            }
            else if (idle < 20)
            {
                Thread.Yield();
            }
            else
            {
                Thread.Sleep(1);
            }
        }
    }
}
