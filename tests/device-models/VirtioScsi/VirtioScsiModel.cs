using System.Buffers.Binary;
using Vhost.VfioUser;

namespace Vhost.Testing.DeviceModels.VirtioScsi;

/// <summary>
/// A modern virtio-scsi HBA (virtio 1.3, sections 4.1 and 5.6). Common configuration in page 0 of BAR 0, ISR in 1, device configuration in 2,
/// notifications in 3 (mapped, and not needed: a thread of the model's own looks at the rings), the MSI-X table in 4.
/// </summary>
public sealed unsafe partial class VirtioScsiModel : PciModel
{
    private const ulong Version1 = 1UL << 32;
    private const ulong Packed = 1UL << 34;
    private const ulong Indirect = 1UL << 28;
    private const ulong HotPlugAndChange = 6;
    private readonly byte[] _common = new byte[0x40];
    private readonly byte[] _deviceConfig = new byte[36];
    private readonly SortedDictionary<(int Target, int Lun), Disk> _disks = [];
    private readonly ModelQueue[] _queues;
    private byte _isr;

    public VirtioScsiModel(VirtioScsiSettings? settings = null)
        : base(settings ??= new VirtioScsiSettings(), CreateConfig(settings), "virtio-scsi model", 0x4000)
    {
        Settings = settings;
        _queues = [.. Enumerable.Range(0, 2 + (int)Math.Min(Settings.RequestQueues, 64)).Select(index => new ModelQueue(index))];
        BinaryPrimitives.WriteUInt32LittleEndian(_deviceConfig, Settings.RequestQueues);
        BinaryPrimitives.WriteUInt32LittleEndian(_deviceConfig.AsSpan(4), Settings.MaxSegments);
        BinaryPrimitives.WriteUInt32LittleEndian(_deviceConfig.AsSpan(8), 0xffff);
        BinaryPrimitives.WriteUInt32LittleEndian(_deviceConfig.AsSpan(12), 128);
        BinaryPrimitives.WriteUInt32LittleEndian(_deviceConfig.AsSpan(16), 16);
        BinaryPrimitives.WriteUInt16LittleEndian(_deviceConfig.AsSpan(30), 7);
        BinaryPrimitives.WriteUInt32LittleEndian(_deviceConfig.AsSpan(32), 16383);
        Start();
    }

    public VirtioScsiSettings Settings { get; }

    public long Resets { get; private set; }

    public long TaskAborts { get; private set; }

    public long Commands { get; private set; }

    /// <summary>Chains that broke a rule that the model checks.</summary>
    public long Violations { get; private set; }

    /// <summary>Commands that were done after their driver was gone.</summary>
    public long Stragglers { get; private set; }

    public long Unmaps { get; private set; }

    public long WriteSames { get; private set; }

    public void Add(int target, uint blockSizeBytes, ulong blockCount, int lun = 0)
    {
        lock (Gate)
        {
            _disks.Add((target, lun), new Disk(blockSizeBytes, blockCount));
            RaiseEvent(1, target, 1); // transport reset, rescan
        }
    }

    public void Remove(int target, int lun = 0)
    {
        lock (Gate)
        {
            _disks.Remove((target, lun));
            RaiseEvent(1, target, 2); // transport reset, removed
        }
    }

    /// <summary>Changes what is there, and has no buffer to tell of it: the next event says only that some were missed.</summary>
    public void ReplaceUnseen(int removed, int added)
    {
        lock (Gate)
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
        lock (Gate)
        {
            _disks[(target, 0)].BlockCount = blockCount;
            RaiseEvent(3, target, 0x2a | (9 << 8)); // parameter change: capacity data has changed
        }
    }

    public override VfioUserRegion GetRegion(int index) => index switch
    {
        0 when Settings.BarLengthBytes < 0x8000 => new VfioUserRegion { Size = Settings.BarLengthBytes },
        0 => new VfioUserRegion { Size = 0x8000, MapFd = File.Raw, MapAreas = [new VfioUserArea(0x3000, 0x1000)] },
        VfioUserRegions.Config => new VfioUserRegion { Size = 256 },
        _ => VfioUserRegion.None,
    };

    protected override ulong TableOffset => 0x4000;

    protected override void ReadRegisters(ulong offset, Span<byte> destination)
    {
        if (offset == 0x1000)
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

    protected override void WriteRegisters(ulong offset, ReadOnlySpan<byte> source)
    {
        if (offset >= 0x2000 && offset + (ulong)source.Length <= 0x2000 + 36)
        {
            source.CopyTo(_deviceConfig.AsSpan((int)offset - 0x2000));
        }
        else if (offset + (ulong)source.Length <= (ulong)_common.Length)
        {
            WriteCommon((int)offset, source);
        }
    }

    protected override int Work()
    {
        if (Session is null || (_common[0x14] & 4) == 0)
        {
            return 0;
        }

        var work = PollControl();
        if (FloodsEvents)
        {
            RaiseEvent(2, null, 0); // asynchronous notification
        }

        for (var i = 2; i < _queues.Length; i++)
        {
            work += PollRequests(_queues[i]);
        }

        return work + EndLate();
    }

    private static PciConfigSpace CreateConfig(VirtioScsiSettings settings)
    {
        var config = new PciConfigSpace(0x1af4, settings.DeviceId, 0x010000);
        config.Write16(0x2e, 8);
        config.AddMsix(Math.Max(settings.Vectors, 1), 0, 0x4000, 0x5000);
        if (settings.HasCommonCapability)
        {
            AddStructure(config, 1, settings.CommonOffset, 0x40);
        }

        AddStructure(config, 3, 0x1000, 4);
        AddStructure(config, 4, 0x2000, 36);
        AddStructure(config, 2, settings.NotifyOffset, 0x1000, 4);
        config.Seal();
        config.HasPin = settings.HasLine;
        if (settings.LoopsCapabilities)
        {
            config.Bytes[0x41] = 0x40;
        }

        return config;
    }

    private static void AddStructure(PciConfigSpace config, byte type, uint offset, uint length, uint? multiplier = null)
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

        config.AddCapability(capability);
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
                StopDevice();
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

    protected override void StopDevice()
    {
        Resets++;
        _isr = 0;
        SetLine(false);
        _common.AsSpan().Clear();
        _held.Clear();
        _late.Clear();
        EndOrphans();
        foreach (var queue in _queues)
        {
            queue.Clear();
        }
    }

    private sealed class Disk(uint blockSizeBytes, ulong blockCount)
    {
        public uint BlockSizeBytes { get; } = blockSizeBytes;

        public ulong BlockCount { get; set; } = blockCount;

        public byte[] Data { get; } = new byte[blockSizeBytes * blockCount];
    }
}
