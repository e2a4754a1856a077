using System.Buffers.Binary;
using Vhost.Abstractions;
using Vhost.Testing;
using Vhost.Virtio;

namespace Vhost.Bench;

/// <summary>
/// The guest's driver of one queue, as a poller on the queue's own reactor: so one thread does both sides, and what it counts is exact. It keeps a number
/// of requests under way until it has had as many as it was told.
/// </summary>
// SAFETY: each slot's addresses were taken from the guest's memory and lie within it.
internal sealed unsafe class PathDriver : IPoller
{
    private const int BlockBytes = 4096;
    private const int SectorBytes = 512;
    private const int HeaderStride = 128;
    private const int BlkHeaderBytes = 16;
    private const int ScsiRequestBytes = 51;
    private const int ScsiResponseOffset = 52;
    private const int ScsiResponseBytes = 108;
    private const int ScsiCdbOffset = 19;

    private readonly DeviceKind _device;
    private readonly DriverVirtqueue _ring;
    private readonly DriverSegment[][] _readable;
    private readonly DriverSegment[][] _writable;
    private readonly nint[] _headers;
    private readonly ulong _placeCount;
    private readonly bool _isWrite;
    private ulong _random;
    private long _left;
    private long _awaited;
    private long _failedCount;
    private long _allocatedAtStart;
    private TaskCompletionSource? _done;

    /// <summary>Lays the requests out.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="device">What requests look like.</param>
    /// <param name="depth">How many are under way.</param>
    /// <param name="diskBytes">Size of the disk.</param>
    /// <param name="isWrite">Whether they write.</param>
    public PathDriver(GuestQueue queue, DeviceKind device, int depth, ulong diskBytes, bool isWrite)
    {
        _device = device;
        _ring = queue.Driver;
        _isWrite = isWrite;
        _placeCount = diskBytes / BlockBytes;
        _random = 0x2545_f491_4f6c_dd1d + (ulong)queue.Index;
        _readable = new DriverSegment[depth][];
        _writable = new DriverSegment[depth][];
        _headers = new nint[depth];
        for (var slot = 0; slot < depth; slot++)
        {
            var header = queue.Ram.Allocate(2 * HeaderStride, HeaderStride);
            var data = new DriverSegment(queue.Ram.Allocate(BlockBytes), BlockBytes);
            _headers[slot] = (nint)queue.Ram.Host(header);
            var (request, response) = device == DeviceKind.Scsi
                ? (new DriverSegment(header, ScsiRequestBytes), new DriverSegment(header + ScsiResponseOffset, ScsiResponseBytes))
                : (new DriverSegment(header, BlkHeaderBytes), new DriverSegment(header + BlkHeaderBytes, 1));
            _readable[slot] = isWrite ? [request, data] : [request];
            _writable[slot] = isWrite ? [response] : device == DeviceKind.Scsi ? [response, data] : [data, response];
            LayOut((byte*)_headers[slot], slot);
        }
    }

    /// <summary>Kicks that it sent.</summary>
    public long KickCount { get; private set; }

    /// <summary>Bytes that the thread allocated from the first request of the last run to its last result.</summary>
    public long AllocatedBytes { get; private set; }

    /// <summary>Begins to send. On the queue's reactor.</summary>
    /// <param name="count">How many requests in all.</param>
    /// <param name="done">Completes with the last result.</param>
    public void Begin(long count, TaskCompletionSource done)
    {
        (_left, _awaited, _done) = (count, count, done);
        _allocatedAtStart = GC.GetAllocatedBytesForCurrentThread();
        for (var slot = 0; slot < _headers.Length && _left > 0; slot++)
        {
            Add(slot);
        }

        Publish();
    }

    /// <inheritdoc/>
    public int Poll()
    {
        if (_awaited == 0)
        {
            return 0;
        }

        var taken = 0;
        while (_ring.TryGetUsed(out var token, out _))
        {
            taken++;
            if (!IsSuccess((byte*)_headers[(int)token]))
            {
                _failedCount++;
            }

            if (_left > 0)
            {
                Add((int)token);
            }
        }

        Publish();
        _awaited -= taken;
        if (_awaited == 0 || _ring.BrokenReason is not null)
        {
            Finish();
        }

        return taken;
    }

    /// <inheritdoc/>
    public bool TryArm() => _awaited == 0;

    /// <inheritdoc/>
    public void Disarm()
    {
    }

    private void Finish()
    {
        _awaited = 0;
        AllocatedBytes = GC.GetAllocatedBytesForCurrentThread() - _allocatedAtStart;
        var done = _done!;
        if (_ring.BrokenReason is { } reason)
        {
            done.TrySetException(new InvalidOperationException(reason));
        }
        else if (_failedCount != 0)
        {
            done.TrySetException(new InvalidOperationException($"{_failedCount} requests failed"));
        }
        else
        {
            done.TrySetResult();
        }
    }

    private void LayOut(byte* header, int slot)
    {
        new Span<byte>(header, 2 * HeaderStride).Clear();
        if (_device == DeviceKind.Blk)
        {
            *(uint*)header = _isWrite ? 1u : 0u;
            return;
        }

        header[0] = 1;
        header[2] = 0x40;
        *(ulong*)(header + 8) = (ulong)slot;
        header[ScsiCdbOffset] = (byte)(_isWrite ? 0x8a : 0x88);
        *(uint*)(header + ScsiCdbOffset + 10) = BinaryPrimitives.ReverseEndianness((uint)(BlockBytes / SectorBytes));
    }

    private void Add(int slot)
    {
        _random ^= _random >> 12;
        _random ^= _random << 25;
        _random ^= _random >> 27;
        var sector = Math.BigMul(_random * 0x2545_f491_4f6c_dd1d, _placeCount, out _) * (BlockBytes / SectorBytes);
        var header = (byte*)_headers[slot];
        if (_device == DeviceKind.Blk)
        {
            *(ulong*)(header + 8) = sector;
            header[BlkHeaderBytes] = 0xff;
        }
        else
        {
            *(ulong*)(header + ScsiCdbOffset + 2) = BinaryPrimitives.ReverseEndianness(sector);
            header[ScsiResponseOffset + 11] = 0xff;
        }

        if (!_ring.TryAdd(_readable[slot], _writable[slot], (ulong)slot))
        {
            throw new InvalidOperationException("the ring has no room");
        }

        _left--;
    }

    private bool IsSuccess(byte* header) => _device == DeviceKind.Blk
        ? header[BlkHeaderBytes] == 0
        : header[ScsiResponseOffset + 11] == 0 && (header[ScsiResponseOffset + 10] == 0 || header[ScsiResponseOffset + 10] == CheckCondition);

    // A LUN begins with unit attentions: the first requests of a nexus end with them.
    private const byte CheckCondition = 2;

    private void Publish()
    {
        if (_ring.Publish())
        {
            KickCount++;
        }
    }
}
