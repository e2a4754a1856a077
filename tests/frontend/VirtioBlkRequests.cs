using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Vhost.Linux;
using Vhost.Virtio;

namespace Vhost.Testing.FrontEnd;

/// <summary>Requests to a virtio-blk device (virtio 1.3, section 5.2.6).</summary>
public sealed unsafe class VirtioBlkRequests : BlockRequests
{
    /// <summary>VIRTIO_BLK_T_IN.</summary>
    public const uint In = 0;

    /// <summary>VIRTIO_BLK_T_OUT.</summary>
    public const uint Out = 1;

    /// <summary>VIRTIO_BLK_T_FLUSH.</summary>
    public const uint Flush = 4;

    private const int SectorBytes = 512;
    private const int HeaderBytes = 16;
    private const int CapacityConfigBytes = 24;
    private const int SlotStride = 128; // the prefetcher takes lines in pairs
    private const int StatusOffset = HeaderBytes; // behind the header and in its cache line, as in Linux's driver
    private const byte Pending = 0xff;
    private const int MaxPrefetched = 32;

    private readonly GuestBuffer _headers;
    private readonly int _sectorsPerBlock;

    /// <summary>Lays the slots out.</summary>
    /// <param name="device">The device; its configuration space tells the disk's size.</param>
    /// <param name="slotCount">Number of slots.</param>
    /// <param name="maxDataBytes">The greatest request.</param>
    public VirtioBlkRequests(FrontEndDevice device, int slotCount, int maxDataBytes)
        : base(Required(device).Memory, slotCount, maxDataBytes)
    {
        var config = device.ReadConfig(CapacityConfigBytes);
        var blockSize = BinaryPrimitives.ReadUInt32LittleEndian(config.AsSpan(20));
        BlockSizeBytes = blockSize >= SectorBytes ? (int)blockSize : SectorBytes;
        _sectorsPerBlock = BlockSizeBytes / SectorBytes;
        BlockCount = BinaryPrimitives.ReadUInt64LittleEndian(config) / (ulong)_sectorsPerBlock;
        _headers = device.Memory.Allocate(slotCount * SlotStride, SlotStride);
        _headers.Span.Clear();
    }

    /// <inheritdoc/>
    public override bool TryAdd(DriverVirtqueue ring, int slot, bool isWrite, ulong block, int lengthBytes) =>
        TryAdd(ring, slot, isWrite ? Out : In, block * (ulong)_sectorsPerBlock, lengthBytes);

    /// <summary>Adds any request; data goes to the device if the type is odd, as the standard has it.</summary>
    /// <param name="ring">The queue.</param>
    /// <param name="slot">The slot.</param>
    /// <param name="type">The type.</param>
    /// <param name="sector">The sector.</param>
    /// <param name="lengthBytes">Length of the data, or 0.</param>
    public bool TryAdd(DriverVirtqueue ring, int slot, uint type, ulong sector, int lengthBytes)
    {
        ArgumentNullException.ThrowIfNull(ring);
        var header = (byte*)_headers.HostAddress + (slot * SlotStride);
        *(uint*)header = type;
        *(ulong*)(header + 8) = sector;
        header[StatusOffset] = Pending;
        var address = _headers.GuestAddress + (ulong)(slot * SlotStride);
        var head = new DriverSegment(address, HeaderBytes);
        var status = new DriverSegment(address + StatusOffset, 1);
        if (lengthBytes == 0)
        {
            return ring.TryAdd([head], [status], (ulong)slot);
        }

        var data = new DriverSegment(Data(slot).GuestAddress, (uint)lengthBytes);
        return (type & 1) != 0
            ? ring.TryAdd([head, data], [status], (ulong)slot)
            : ring.TryAdd([head], [data, status], (ulong)slot);
    }

    /// <inheritdoc/>
    public override bool TryAddFlush(DriverVirtqueue ring, int slot) => TryAdd(ring, slot, Flush, 0, 0);

    /// <summary>A slot's status: 0 OK, 1 error, 2 unsupported, 255 not yet.</summary>
    /// <param name="slot">The slot.</param>
    public byte Status(int slot) => ((byte*)_headers.HostAddress)[(slot * SlotStride) + StatusOffset];

    /// <inheritdoc/>
    [SkipLocalsInit]
    // SAFETY: the addresses are only fetched, never accessed.
    public override void Prefetch(ReadOnlySpan<ulong> slots)
    {
        var count = Math.Min(slots.Length, MaxPrefetched);
        var lines = stackalloc byte*[MaxPrefetched];
        for (var i = 0; i < count; i++)
        {
            lines[i] = (byte*)_headers.HostAddress + (slots[i] * SlotStride);
        }

        WritePrefetch.Fetch(lines, count);
    }

    /// <inheritdoc/>
    public override bool IsSuccess(int slot) => Status(slot) == 0;

    /// <inheritdoc/>
    public override string DescribeResult(int slot) => $"status {Status(slot)}";

    private static FrontEndDevice Required(FrontEndDevice device) => device ?? throw new ArgumentNullException(nameof(device));
}
