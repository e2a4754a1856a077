using System.Buffers.Binary;
using Vhost.Linux;
using Vhost.VfioUser;

namespace Vhost.Testing.DeviceModels.Nvme;

/// <summary>
/// An NVMe controller (NVM Express Base 2.0): registers in the first page of BAR 0, doorbells in the second, the MSI-X table in the third.
/// </summary>
public sealed unsafe partial class NvmeModel : PciModel
{
    private const ulong DoorbellOffset = 0x1000;
    private const ulong MsixTableOffset = 0x2000;
    private const ulong PendingOffset = 0x3000;
    private const uint StatusReady = 1;
    private const uint StatusFatal = 2;
    private const uint StatusShutdownComplete = 2 << 2;
    private readonly MemoryMapping _doorbells;
    private readonly SortedDictionary<uint, NvmeModelNamespace> _namespaces = [];
    private uint _configuration;
    private uint _status;
    private uint _adminAttributes;
    private ulong _adminSubmissionBase;
    private ulong _adminCompletionBase;
    private uint _lineMask;

    public NvmeModel(NvmeSettings? settings = null)
        : base(settings ??= new NvmeSettings(), CreateConfig(settings), "nvme model", 0x2000)
    {
        Settings = settings;
        _doorbells = MemoryMapping.MapShared(File.Raw, DoorbellOffset, 0x1000);
        Start();
    }

    public NvmeSettings Settings { get; }

    /// <summary>What happened; read it when the controller is idle.</summary>
    public NvmeModelCounters Counters { get; } = new();

    /// <summary>Adds a namespace and tells the driver if it listens.</summary>
    public void Add(uint id, NvmeModelNamespace added)
    {
        lock (Gate)
        {
            _namespaces.Add(id, added);
            RaiseNamespaceChange();
        }
    }

    /// <summary>Takes a namespace away.</summary>
    public void Remove(uint id)
    {
        lock (Gate)
        {
            _namespaces.Remove(id, out var removed);
            removed!.Dispose();
            RaiseNamespaceChange();
        }
    }

    /// <summary>Changes a namespace's capacity.</summary>
    public void Resize(uint id, ulong blockCount)
    {
        lock (Gate)
        {
            _namespaces[id].BlockCount = blockCount;
            RaiseNamespaceChange();
        }
    }

    /// <summary>Sets SMART's critical warning and raises the event.</summary>
    public void Warn(byte criticalWarning)
    {
        lock (Gate)
        {
            _criticalWarning = criticalWarning;
            RaiseEvent(1 | (1 << 8) | (2 << 16));
        }
    }

    public override VfioUserRegion GetRegion(int index) => index switch
    {
        0 when Settings.MapsDoorbells && Settings.BarLengthBytes >= MsixTableOffset =>
            new VfioUserRegion { Size = Settings.BarLengthBytes, MapFd = File.Raw, MapAreas = [new VfioUserArea(DoorbellOffset, 0x1000)] },
        0 => new VfioUserRegion { Size = Settings.BarLengthBytes },
        VfioUserRegions.Config => new VfioUserRegion { Size = 256 },
        _ => VfioUserRegion.None,
    };

    public override void Reset()
    {
        lock (Gate)
        {
            Counters.FunctionResets++;
        }

        base.Reset();
    }

    public override void Dispose()
    {
        base.Dispose();
        _doorbells.Dispose();
        foreach (var one in _namespaces.Values)
        {
            one.Dispose();
        }
    }

    protected override ulong TableOffset => MsixTableOffset;

    protected override void ReadRegisters(ulong offset, Span<byte> destination)
    {
        if (offset >= MsixTableOffset)
        {
            return; // no vector is pending
        }

        if (offset >= DoorbellOffset)
        {
            new ReadOnlySpan<byte>(_doorbells.Address + (offset - DoorbellOffset), destination.Length).CopyTo(destination);
            return;
        }

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

    protected override void WriteRegisters(ulong offset, ReadOnlySpan<byte> source)
    {
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

    protected override int Work()
    {
        var work = PollQueues();
        UpdateLine();
        return work;
    }

    private void Configure(uint value)
    {
        var rising = (value & ~_configuration & 1) != 0;
        var isShutdown = (value & (3u << 14)) != 0 && (_configuration & (3u << 14)) == 0;
        _configuration = value;
        if ((value & 1) == 0)
        {
            StopDevice();
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

    protected override void StopDevice()
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

    private static PciConfigSpace CreateConfig(NvmeSettings settings)
    {
        var config = new PciConfigSpace(0x1b36, 0x0010, settings.ClassCode);
        config.AddMsix(Math.Max(settings.Vectors, 1), 0, (uint)MsixTableOffset, (uint)PendingOffset);
        config.Seal();
        config.HasPin = settings.HasLine;
        return config;
    }
}
