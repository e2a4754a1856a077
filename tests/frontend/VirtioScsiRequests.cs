using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Vhost.Linux;
using Vhost.Virtio;

namespace Vhost.Testing.FrontEnd;

/// <summary>Requests to a LUN behind a virtio-scsi device (virtio 1.3, section 5.6.6). Its request queues begin at 2.</summary>
public sealed unsafe class VirtioScsiRequests : BlockRequests
{
    /// <summary>Queues that precede the request queues: control and event.</summary>
    public const int FirstRequestQueue = 2;

    private const int RequestBytes = 51;
    private const int CdbOffset = 19;
    private const int ResponseBytes = 108;
    private const int ResponseOffset = 52; // behind the request: without sense data both lie in one cache line
    private const int SlotStride = 192;
    private const int StatusOffset = 10;
    private const int ResponseCodeOffset = 11;
    private const int SenseOffset = 12;
    private const byte Read16 = 0x88;
    private const byte Write16 = 0x8a;
    private const byte SynchronizeCache10 = 0x35;
    private const byte ServiceActionIn16 = 0x9e;
    private const byte ReadCapacity16 = 0x10;
    private const int CapacityBytes = 32;
    private const int MaxUnitAttentions = 8;
    private const int MaxPrefetched = 32;

    private readonly GuestBuffer _headers;

    /// <summary>Lays the slots out and asks the LUN for its size.</summary>
    /// <param name="device">The device.</param>
    /// <param name="slotCount">Number of slots.</param>
    /// <param name="maxDataBytes">The greatest request.</param>
    /// <param name="target">The target; its LUN 0.</param>
    public VirtioScsiRequests(FrontEndDevice device, int slotCount, int maxDataBytes, byte target = 0)
        : base((device ?? throw new ArgumentNullException(nameof(device))).Memory, slotCount, maxDataBytes)
    {
        _headers = device.Memory.Allocate(slotCount * SlotStride, 64);
        _headers.Span.Clear();
        for (var slot = 0; slot < slotCount; slot++)
        {
            var request = Request(slot);
            request[0] = 1;
            request[1] = target;
            request[2] = 0x40;
            *(ulong*)(request + 8) = (ulong)slot;
        }

        ReadCapacity(device.RequestQueue(0));
    }

    /// <summary>A slot's command descriptor block, 32 bytes.</summary>
    /// <param name="slot">The slot.</param>
    public Span<byte> Cdb(int slot) => new(Request(slot) + CdbOffset, 32);

    /// <summary>A slot's SCSI status.</summary>
    /// <param name="slot">The slot.</param>
    public byte Status(int slot) => Request(slot)[ResponseOffset + StatusOffset];

    /// <summary>A slot's virtio-scsi response.</summary>
    /// <param name="slot">The slot.</param>
    public byte Response(int slot) => Request(slot)[ResponseOffset + ResponseCodeOffset];

    /// <summary>A slot's sense data.</summary>
    /// <param name="slot">The slot.</param>
    public ReadOnlySpan<byte> Sense(int slot) => new(Request(slot) + ResponseOffset + SenseOffset, (int)Math.Min(*(uint*)(Request(slot) + ResponseOffset), 96));

    /// <inheritdoc/>
    public override bool TryAdd(DriverVirtqueue ring, int slot, bool isWrite, ulong block, int lengthBytes)
    {
        var cdb = Request(slot) + CdbOffset;
        cdb[0] = isWrite ? Write16 : Read16;
        *(ulong*)(cdb + 2) = BinaryPrimitives.ReverseEndianness(block);
        *(uint*)(cdb + 10) = BinaryPrimitives.ReverseEndianness((uint)(lengthBytes / BlockSizeBytes));
        return TryAddCommand(ring, slot, isWrite, lengthBytes);
    }

    /// <inheritdoc/>
    public override bool TryAddFlush(DriverVirtqueue ring, int slot)
    {
        var cdb = Cdb(slot);
        cdb.Clear();
        cdb[0] = SynchronizeCache10;
        return TryAddCommand(ring, slot, false, 0);
    }

    /// <summary>Adds the command that stands in the slot's CDB.</summary>
    /// <param name="ring">The queue.</param>
    /// <param name="slot">The slot.</param>
    /// <param name="isWrite">Whether its data goes to the device.</param>
    /// <param name="lengthBytes">Length of its data, or 0.</param>
    public bool TryAddCommand(DriverVirtqueue ring, int slot, bool isWrite, int lengthBytes)
    {
        ArgumentNullException.ThrowIfNull(ring);
        Request(slot)[ResponseOffset + ResponseCodeOffset] = 0xff;
        var address = _headers.GuestAddress + (ulong)(slot * SlotStride);
        var request = new DriverSegment(address, RequestBytes);
        var response = new DriverSegment(address + ResponseOffset, ResponseBytes);
        if (lengthBytes == 0)
        {
            return ring.TryAdd([request], [response], (ulong)slot);
        }

        var data = new DriverSegment(Data(slot).GuestAddress, (uint)lengthBytes);
        return isWrite
            ? ring.TryAdd([request, data], [response], (ulong)slot)
            : ring.TryAdd([request], [response, data], (ulong)slot);
    }

    /// <inheritdoc/>
    [SkipLocalsInit]
    // SAFETY: the addresses are only fetched, never accessed.
    public override void Prefetch(ReadOnlySpan<ulong> slots)
    {
        var count = Math.Min(slots.Length, MaxPrefetched);
        var lines = stackalloc byte*[MaxPrefetched];
        for (var i = 0; i < count; i++)
        {
            // Request and result lie in this line.
            lines[i] = Request((int)slots[i]);
        }

        WritePrefetch.Fetch(lines, count);
    }

    /// <inheritdoc/>
    public override bool IsSuccess(int slot) => Status(slot) == 0 && Response(slot) == 0;

    /// <inheritdoc/>
    public override string DescribeResult(int slot) =>
        $"response {Response(slot)}, SCSI status 0x{Status(slot):x2}, sense {Convert.ToHexStringLower(Sense(slot))}";

    private byte* Request(int slot) => (byte*)_headers.HostAddress + (slot * SlotStride);

    private void ReadCapacity(FrontEndQueue queue)
    {
        // A LUN begins with unit attentions, each reported once.
        for (var attempt = 0; ; attempt++)
        {
            var cdb = Cdb(0);
            cdb.Clear();
            cdb[0] = ServiceActionIn16;
            cdb[1] = ReadCapacity16;
            cdb[13] = CapacityBytes;
            TryAddCommand(queue.Ring, 0, isWrite: false, CapacityBytes);
            Complete(queue);
            if (IsSuccess(0))
            {
                break;
            }

            if (attempt == MaxUnitAttentions)
            {
                throw new FrontEndException($"the LUN does not tell its capacity: {DescribeResult(0)}");
            }
        }

        var data = Data(0).Span;
        BlockCount = BinaryPrimitives.ReadUInt64BigEndian(data) + 1;
        BlockSizeBytes = (int)BinaryPrimitives.ReadUInt32BigEndian(data[8..]);
        for (var slot = 0; slot < SlotCount; slot++)
        {
            Cdb(slot).Clear();
        }
    }
}
