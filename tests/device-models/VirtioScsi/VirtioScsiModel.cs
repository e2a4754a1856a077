using System.Buffers.Binary;
using System.Diagnostics;
using Vhost.Linux;
using Vhost.VfioUser;

namespace Vhost.Testing.DeviceModels.VirtioScsi;

/// <summary>
/// A modern virtio-scsi HBA (virtio 1.3, sections 4.1 and 5.6). Common configuration in page 0 of BAR 0, ISR in 1, device configuration in 2,
/// notifications in 3 (mapped, and not needed: a thread of the model's own looks at the rings), the MSI-X table in 4.
/// </summary>
public sealed unsafe partial class VirtioScsiModel : IVfioUserDevice, IDisposable
{
    private const ulong Version1 = 1UL << 32;
    private const ulong Packed = 1UL << 34;
    private const ulong Indirect = 1UL << 28;
    private const ulong HotPlugAndChange = 6;
    private readonly Lock _gate = new();
    private readonly MemoryFile _file = MemoryFile.Create("virtio-bar0", 0x4000);
    private readonly PciConfigSpace _config;
    private readonly byte[] _common = new byte[0x40];
    private readonly byte[] _deviceConfig = new byte[36];
    private readonly byte[] _table = new byte[0x1000];
    private readonly Thread _thread;
    private readonly SortedDictionary<(int Target, int Lun), Disk> _disks = [];
    private readonly ModelQueue[] _queues;
    private VfioUserSession? _session;
    private byte _isr;
    private volatile bool _stops;

    public VirtioScsiModel(VirtioScsiSettings? settings = null)
    {
        Settings = settings ?? new VirtioScsiSettings();
        _queues = [.. Enumerable.Range(0, 2 + (int)Math.Min(Settings.RequestQueues, 64)).Select(index => new ModelQueue(index))];
        _config = new PciConfigSpace(0x1af4, Settings.DeviceId, 0x010000);
        _config.Write16(0x2e, 8);
        _config.AddMsix(Math.Max(Settings.Vectors, 1), 0, 0x4000, 0x5000);
        if (Settings.HasCommonCapability)
        {
            AddStructure(1, Settings.CommonOffset, 0x40);
        }

        AddStructure(3, 0x1000, 4);
        AddStructure(4, 0x2000, 36);
        AddStructure(2, Settings.NotifyOffset, 0x1000, 4);
        _config.Seal();
        _config.Bytes[0x3d] = (byte)(Settings.HasLine ? 1 : 0); // pin A
        if (Settings.LoopsCapabilities)
        {
            _config.Bytes[0x41] = 0x40;
        }

        BinaryPrimitives.WriteUInt32LittleEndian(_deviceConfig, Settings.RequestQueues);
        BinaryPrimitives.WriteUInt32LittleEndian(_deviceConfig.AsSpan(4), Settings.MaxSegments);
        BinaryPrimitives.WriteUInt32LittleEndian(_deviceConfig.AsSpan(8), 0xffff);
        BinaryPrimitives.WriteUInt32LittleEndian(_deviceConfig.AsSpan(12), 128);
        BinaryPrimitives.WriteUInt32LittleEndian(_deviceConfig.AsSpan(16), 16);
        BinaryPrimitives.WriteUInt16LittleEndian(_deviceConfig.AsSpan(30), 7);
        BinaryPrimitives.WriteUInt32LittleEndian(_deviceConfig.AsSpan(32), 16383);
        _thread = new Thread(Run) { IsBackground = true, Name = "virtio-scsi model" };
        _thread.Start();
    }

    public VirtioScsiSettings Settings { get; }

    public long Resets { get; private set; }

    public long TaskAborts { get; private set; }

    public long Commands { get; private set; }

    /// <summary>Chains that broke a rule that the model checks.</summary>
    public long Violations { get; private set; }

    public long Unmaps { get; private set; }

    public long WriteSames { get; private set; }

    /// <summary>How often the INTx line went high.</summary>
    public long LineRises { get; private set; }

    public void Add(int target, uint blockSizeBytes, ulong blockCount, int lun = 0)
    {
        lock (_gate)
        {
            _disks.Add((target, lun), new Disk(blockSizeBytes, blockCount));
            RaiseEvent(1, target, 1); // transport reset, rescan
        }
    }

    public void Remove(int target, int lun = 0)
    {
        lock (_gate)
        {
            _disks.Remove((target, lun));
            RaiseEvent(1, target, 2); // transport reset, removed
        }
    }

    /// <summary>Changes what is there, and has no buffer to tell of it: the next event says only that some were missed.</summary>
    public void ReplaceUnseen(int removed, int added)
    {
        lock (_gate)
        {
            _disks.Remove((removed, 0), out var disk);
            _disks.Add((added, 0), disk!);
            RaiseEvent(0x8000_0000, null, 0);
        }
    }

    /// <summary>From now on each buffer for events comes back at once.</summary>
    public bool FloodsEvents { get; set; }

    public void Resize(int target, ulong blockCount)
    {
        lock (_gate)
        {
            _disks[(target, 0)].BlockCount = blockCount;
            RaiseEvent(3, target, 0x2a | (9 << 8)); // parameter change: capacity data has changed
        }
    }

    public VfioUserRegion GetRegion(int index) => index switch
    {
        0 when Settings.BarLengthBytes < 0x8000 => new VfioUserRegion { Size = Settings.BarLengthBytes },
        0 => new VfioUserRegion { Size = 0x8000, MapFd = _file.Raw, MapAreas = [new VfioUserArea(0x3000, 0x1000)] },
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
            Stop();
            _session = null;
        }
    }

    public void OnDmaUnmapped(VfioUserDmaRegion region)
    {
        lock (_gate)
        {
            // No chain is under way outside of the lock.
            _queues[0].Touches++;
        }
    }

    public void Reset()
    {
        lock (_gate)
        {
            Stop();
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
            destination.Clear();
            if (offset >= 0x4000 && offset < 0x5000)
            {
                _table.AsSpan((int)offset - 0x4000, destination.Length).CopyTo(destination);
            }
            else if (offset == 0x1000)
            {
                // Reading the ISR status takes the line down (virtio 1.3, section 4.1.4.5).
                destination[0] = _isr;
                _isr = 0;
                SetLine(false);
            }
            else if (offset >= 0x2000 && offset + (ulong)destination.Length <= 0x2000 + 36)
            {
                _deviceConfig.AsSpan((int)offset - 0x2000, destination.Length).CopyTo(destination);
            }
            else if (offset + (ulong)destination.Length <= (ulong)_common.Length)
            {
                ReadCommon((int)offset, destination);
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
            if (offset >= 0x4000 && offset < 0x5000)
            {
                source.CopyTo(_table.AsSpan((int)offset - 0x4000));
            }
            else if (offset >= 0x2000 && offset + (ulong)source.Length <= 0x2000 + 36)
            {
                source.CopyTo(_deviceConfig.AsSpan((int)offset - 0x2000));
            }
            else if (offset + (ulong)source.Length <= (ulong)_common.Length)
            {
                WriteCommon((int)offset, source);
            }
        }
    }

    public void Dispose()
    {
        _stops = true;
        _thread.Join();
        _file.Dispose();
    }

    private void SetLine(bool isHigh)
    {
        if (Settings.HasLine && _session is not null)
        {
            LineRises += isHigh ? 1 : 0;
            _session.Interrupts.SetLevel(VfioUserIrqs.Intx, 0, isHigh);
        }
    }

    private void AddStructure(byte type, uint offset, uint length, uint? multiplier = null)
    {
        var capability = new byte[multiplier is null ? 16 : 20];
        capability[0] = 9;
        capability[2] = (byte)capability.Length;
        capability[3] = type;
        BinaryPrimitives.WriteUInt32LittleEndian(capability.AsSpan(8), offset);
        BinaryPrimitives.WriteUInt32LittleEndian(capability.AsSpan(12), length);
        if (multiplier is { } value)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(capability.AsSpan(16), value);
        }

        _config.AddCapability(capability);
    }

    private ModelQueue? Selected => BinaryPrimitives.ReadUInt16LittleEndian(_common.AsSpan(0x16)) is var index && index < _queues.Length ? _queues[index] : null;

    private void ReadCommon(int offset, Span<byte> destination)
    {
        var features = HotPlugAndChange | (Settings.HasIndirect ? Indirect : 0) | (Settings.IsModern ? Version1 : 0) | (Settings.IsPacked ? Packed : 0);
        Span<byte> view = stackalloc byte[0x40];
        _common.CopyTo(view);
        BinaryPrimitives.WriteUInt32LittleEndian(view[4..], (uint)(features >> (BinaryPrimitives.ReadUInt32LittleEndian(_common) == 1 ? 32 : 0)));
        BinaryPrimitives.WriteUInt16LittleEndian(view[0x12..], (ushort)_queues.Length);
        if (Selected is { } queue)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(view[0x18..], queue.Size != 0 ? (ushort)queue.Size : (ushort)Settings.QueueSize);
            BinaryPrimitives.WriteUInt16LittleEndian(view[0x1a..], queue.Vector);
            BinaryPrimitives.WriteUInt16LittleEndian(view[0x1c..], (ushort)(queue.IsEnabled ? 1 : 0));
            BinaryPrimitives.WriteUInt16LittleEndian(view[0x1e..], (ushort)queue.Index);
        }

        view.Slice(offset, destination.Length).CopyTo(destination);
    }

    private void WriteCommon(int offset, ReadOnlySpan<byte> source)
    {
        if (offset == 0x14)
        {
            if (source[0] == 0)
            {
                Stop();
            }
            else
            {
                _common[0x14] = source[0];
            }

            return;
        }

        source.CopyTo(_common.AsSpan(offset));
        if (Selected is not { } queue)
        {
            return;
        }

        switch (offset)
        {
            case 0x18:
                queue.Size = BinaryPrimitives.ReadUInt16LittleEndian(source);
                break;
            case 0x1a:
                queue.Vector = BinaryPrimitives.ReadUInt16LittleEndian(source);
                break;
            case 0x1c:
                queue.Enable(Settings.IsPacked, BinaryPrimitives.ReadUInt64LittleEndian(_common.AsSpan(0x20)), BinaryPrimitives.ReadUInt64LittleEndian(_common.AsSpan(0x28)), BinaryPrimitives.ReadUInt64LittleEndian(_common.AsSpan(0x30)));
                break;
        }
    }

    private void Stop()
    {
        Resets++;
        _isr = 0;
        SetLine(false);
        _common.AsSpan().Clear();
        _held.Clear();
        foreach (var queue in _queues)
        {
            queue.Clear();
        }
    }

    private void Run()
    {
        var lastWork = Stopwatch.GetTimestamp();
        while (!_stops)
        {
            var work = 0;
            lock (_gate)
            {
                if (_session is not null && (_common[0x14] & 4) != 0)
                {
                    work = PollControl();
                    if (FloodsEvents)
                    {
                        RaiseEvent(2, null, 0); // asynchronous notification
                    }

                    for (var i = 2; i < _queues.Length; i++)
                    {
                        work += PollRequests(_queues[i]);
                    }
                }
            }

            if (work != 0)
            {
                lastWork = Stopwatch.GetTimestamp();
                continue;
            }

            var idle = Stopwatch.GetElapsedTime(lastWork).TotalMilliseconds;
            if (idle < 0.2)
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

    private sealed class Disk(uint blockSizeBytes, ulong blockCount)
    {
        public uint BlockSizeBytes { get; } = blockSizeBytes;

        public ulong BlockCount { get; set; } = blockCount;

        public byte[] Data { get; } = new byte[blockSizeBytes * blockCount];
    }
}
