using System.Buffers.Binary;
using System.Diagnostics;
using Vhost.Linux;
using Vhost.VfioUser;

namespace Vhost.Testing.DeviceModels.Nvme;

/// <summary>
/// An NVMe controller (NVM Express Base 2.0): registers in the first page of BAR 0, doorbells in the second, the MSI-X table in the third. A
/// thread of the model's own looks at the doorbells and carries commands out; one lock keeps it and the server's thread apart.
/// </summary>
public sealed unsafe partial class NvmeModel : IVfioUserDevice, IDisposable
{
    private const ulong DoorbellOffset = 0x1000;
    private const ulong TableOffset = 0x2000;
    private const ulong PendingOffset = 0x3000;
    private const uint StatusReady = 1;
    private const uint StatusFatal = 2;
    private const uint StatusShutdownComplete = 2 << 2;
    private readonly Lock _gate = new();
    private readonly MemoryFile _file = MemoryFile.Create("nvme-bar0", 0x2000);
    private readonly MemoryMapping _doorbells;
    private readonly PciConfigSpace _config;
    private readonly byte[] _table = new byte[0x1000];
    private readonly Thread _thread;
    private readonly SortedDictionary<uint, NvmeModelNamespace> _namespaces = [];
    private VfioUserSession? _session;
    private uint _configuration;
    private uint _status;
    private uint _adminAttributes;
    private ulong _adminSubmissionBase;
    private ulong _adminCompletionBase;
    private uint _lineMask;
    private volatile bool _stops;

    public NvmeModel(NvmeSettings? settings = null)
    {
        Settings = settings ?? new NvmeSettings();
        _doorbells = MemoryMapping.MapShared(_file.Raw, DoorbellOffset, 0x1000);
        _config = new PciConfigSpace(0x1b36, 0x0010, Settings.ClassCode);
        _config.AddMsix(Math.Max(Settings.Vectors, 1), 0, (uint)TableOffset, (uint)PendingOffset);
        _config.Seal();
        _config.Bytes[0x3d] = (byte)(Settings.HasLine ? 1 : 0); // pin A
        _thread = new Thread(Run) { IsBackground = true, Name = "nvme model" };
        _thread.Start();
    }

    public NvmeSettings Settings { get; }

    /// <summary>What happened; read it when the controller is idle.</summary>
    public NvmeModelCounters Counters { get; } = new();

    /// <summary>Adds a namespace and tells the driver if it listens.</summary>
    public void Add(uint id, NvmeModelNamespace added)
    {
        lock (_gate)
        {
            _namespaces.Add(id, added);
            RaiseNamespaceChange();
        }
    }

    /// <summary>Takes a namespace away.</summary>
    public void Remove(uint id)
    {
        lock (_gate)
        {
            _namespaces.Remove(id, out var removed);
            removed!.Dispose();
            RaiseNamespaceChange();
        }
    }

    /// <summary>Changes a namespace's capacity.</summary>
    public void Resize(uint id, ulong blockCount)
    {
        lock (_gate)
        {
            _namespaces[id].BlockCount = blockCount;
            RaiseNamespaceChange();
        }
    }

    /// <summary>Sets SMART's critical warning and raises the event.</summary>
    public void Warn(byte criticalWarning)
    {
        lock (_gate)
        {
            _criticalWarning = criticalWarning;
            RaiseEvent(1 | (1 << 8) | (2 << 16));
        }
    }

    public VfioUserRegion GetRegion(int index) => index switch
    {
        0 when Settings.MapsDoorbells && Settings.BarLengthBytes >= TableOffset =>
            new VfioUserRegion { Size = Settings.BarLengthBytes, MapFd = _file.Raw, MapAreas = [new VfioUserArea(DoorbellOffset, 0x1000)] },
        0 => new VfioUserRegion { Size = Settings.BarLengthBytes },
        VfioUserRegions.Config => new VfioUserRegion { Size = 256 },
        _ => VfioUserRegion.None,
    };

    public VfioUserIrq GetIrq(int index) => index switch
    {
        VfioUserIrqs.Msix when Settings.Vectors > 0 => new VfioUserIrq((uint)Settings.Vectors, VfioUserIrqFlags.EventFd),
        VfioUserIrqs.Intx when Settings.HasLine => new VfioUserIrq(1, VfioUserIrqFlags.EventFd | VfioUserIrqFlags.Maskable | VfioUserIrqFlags.AutoMasked),
        _ => default,
    };

    public void OnConnected(VfioUserSession session)
    {
        lock (_gate)
        {
            _session = session;
        }
    }

    public void OnDisconnected(string reason)
    {
        lock (_gate)
        {
            Disable();
            _session = null;
        }
    }

    public void OnDmaUnmapped(VfioUserDmaRegion region)
    {
        // No command is under way outside of the lock.
        lock (_gate)
        {
            Counters.Unmaps++;
        }
    }

    public void Reset()
    {
        lock (_gate)
        {
            Counters.FunctionResets++;
            Disable();
        }
    }

    public void ReadRegion(int region, ulong offset, Span<byte> destination)
    {
        if (region == VfioUserRegions.Config)
        {
            _config.Read((int)offset, destination);
            return;
        }

        lock (_gate)
        {
            if (offset >= PendingOffset)
            {
                destination.Clear();
            }
            else if (offset >= TableOffset)
            {
                _table.AsSpan((int)(offset - TableOffset), destination.Length).CopyTo(destination);
            }
            else if (offset >= DoorbellOffset)
            {
                new ReadOnlySpan<byte>(_doorbells.Address + (offset - DoorbellOffset), destination.Length).CopyTo(destination);
            }
            else
            {
                Span<byte> registers = stackalloc byte[0x1000];
                registers.Clear();
                BinaryPrimitives.WriteUInt64LittleEndian(registers, Settings.Capabilities);
                BinaryPrimitives.WriteUInt32LittleEndian(registers[0x08..], 0x00010400);
                BinaryPrimitives.WriteUInt32LittleEndian(registers[0x0c..], _lineMask);
                BinaryPrimitives.WriteUInt32LittleEndian(registers[0x10..], _lineMask);
                BinaryPrimitives.WriteUInt32LittleEndian(registers[0x14..], _configuration);
                BinaryPrimitives.WriteUInt32LittleEndian(registers[0x1c..], _status);
                BinaryPrimitives.WriteUInt32LittleEndian(registers[0x24..], _adminAttributes);
                BinaryPrimitives.WriteUInt64LittleEndian(registers[0x28..], _adminSubmissionBase);
                BinaryPrimitives.WriteUInt64LittleEndian(registers[0x30..], _adminCompletionBase);
                registers.Slice((int)offset, destination.Length).CopyTo(destination);
            }
        }
    }

    public void WriteRegion(int region, ulong offset, ReadOnlySpan<byte> source)
    {
        if (region == VfioUserRegions.Config)
        {
            _config.Write((int)offset, source);
            return;
        }

        lock (_gate)
        {
            if (offset >= TableOffset)
            {
                source.CopyTo(_table.AsSpan((int)(offset - TableOffset)));
                return;
            }

            if (offset >= DoorbellOffset)
            {
                source.CopyTo(new Span<byte>(_doorbells.Address + (offset - DoorbellOffset), source.Length));
                Counters.DoorbellMessages++;
                return;
            }

            switch (offset)
            {
                case 0x0c:
                    _lineMask |= BinaryPrimitives.ReadUInt32LittleEndian(source);
                    UpdateLine();
                    break;
                case 0x10:
                    _lineMask &= ~BinaryPrimitives.ReadUInt32LittleEndian(source);
                    UpdateLine();
                    break;
                case 0x14:
                    Configure(BinaryPrimitives.ReadUInt32LittleEndian(source));
                    break;
                case 0x24:
                    _adminAttributes = BinaryPrimitives.ReadUInt32LittleEndian(source);
                    break;
                case 0x28:
                    _adminSubmissionBase = BinaryPrimitives.ReadUInt64LittleEndian(source);
                    break;
                case 0x30:
                    _adminCompletionBase = BinaryPrimitives.ReadUInt64LittleEndian(source);
                    break;
            }
        }
    }

    public void Dispose()
    {
        _stops = true;
        _thread.Join();
        _doorbells.Dispose();
        _file.Dispose();
        foreach (var one in _namespaces.Values)
        {
            one.Dispose();
        }
    }

    private void Configure(uint value)
    {
        var rising = (value & ~_configuration & 1) != 0;
        var isShutdown = (value & (3u << 14)) != 0 && (_configuration & (3u << 14)) == 0;
        _configuration = value;
        if ((value & 1) == 0)
        {
            Disable();
        }
        else if (rising)
        {
            Counters.Enables++;
            if (!Settings.NeverReady)
            {
                Enable();
                _status = StatusReady;
            }
        }

        if (isShutdown)
        {
            Counters.Shutdowns++;
            _status = (_status & ~(3u << 2)) | StatusShutdownComplete;
        }
    }

    private void Enable()
    {
        _submissions.Clear();
        _completions.Clear();
        new Span<byte>(_doorbells.Address, 0x1000).Clear();
        _completions[0] = new CompletionQueue(_adminCompletionBase, (int)(_adminAttributes >> 16) + 1, 0, true);
        _submissions[0] = new SubmissionQueue(0, _adminSubmissionBase, (int)(_adminAttributes & 0xfff) + 1, _completions[0]);
    }

    private void Disable()
    {
        _configuration = 0;
        _status = 0;
        _submissions.Clear();
        _completions.Clear();
        _held.Clear();
        _eventRequests.Clear();
        _events.Clear();
        _namespaceEventSent = false;
        _eventMask = 0;
        _shadow = _shadowEvents = 0;
        _lineMask = 0;
        UpdateLine();
    }

    private void Run()
    {
        var lastWork = Stopwatch.GetTimestamp();
        while (!_stops)
        {
            int work;
            lock (_gate)
            {
                work = PollQueues();
                UpdateLine();
            }

            if (work != 0)
            {
                lastWork = Stopwatch.GetTimestamp();
                continue;
            }

            // Rest in steps: a model that spins for ever would starve the driver on a small machine.
            var idle = Stopwatch.GetElapsedTime(lastWork).TotalMilliseconds;
            if (idle < 0.2 || Settings.Spins)
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
