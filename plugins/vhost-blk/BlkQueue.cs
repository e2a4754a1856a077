using System.Runtime.CompilerServices;
using System.Text;
using Vhost.Abstractions;
using Vhost.Virtio;

namespace Vhost.Plugins.VhostBlk;

/// <summary>Turns the requests of one virtqueue into block requests (virtio 1.3, section 5.2.6). The queue's reactor only.</summary>
// SAFETY: segments with an address were translated and checked by the queue and stay mapped until the request is completed; private areas
// are as long as this handler declares.
internal sealed unsafe class BlkQueue(BlkDevice device, IBdevPort port, BlkChannel[] channels, BlkOptions options) : IVirtqueueHandler
{
    private readonly BlockRequestPointer[] _batch = new BlockRequestPointer[Virtqueue.BatchSize];
    private BdevInfo? _info;
    private BlkGeometry _geometry = new(null, options.ReadOnly);
    private Virtqueue? _queue;
    private BlkChannel? _shared;
    private IBdevChannel? _channel;
    private bool _isWritethrough;

    /// <inheritdoc/>
    public int PrivateBytes => sizeof(BlkRequest);

    /// <inheritdoc/>
    public void Attach(Virtqueue queue)
    {
        _queue = queue;
        var shared = channels[0];
        foreach (var channel in channels)
        {
            if (ReferenceEquals(channel.Reactor, queue.Reactor))
            {
                shared = channel;
            }
        }

        _channel = shared.Open();
        _shared = shared;
    }

    /// <inheritdoc/>
    public void Handle(ReadOnlySpan<VirtioRequestPointer> requests)
    {
        var info = port.Info;
        if (!ReferenceEquals(info, _info))
        {
            _info = info;
            _geometry = new BlkGeometry(info, options.ReadOnly);
        }

        _isWritethrough = device.IsWritethrough;
        var count = 0;
        var batch = _batch;
        foreach (var request in requests)
        {
            if (TryPrepare(request.Pointer))
            {
                batch[count++] = new BlockRequestPointer((BlockRequest*)VirtioRequest.PrivateOf(request.Pointer));
            }
        }

        if (count != 0)
        {
            _channel!.Submit(new ReadOnlySpan<BlockRequestPointer>(batch, 0, count));
        }
    }

    /// <inheritdoc/>
    public bool TryFail(VirtioRequest* request, out uint writtenBytes)
    {
        writtenBytes = 0;
        if (!TryFindStatus(request, out var status))
        {
            return false;
        }

        *status = BlkProtocol.StatusIoError;
        writtenBytes = 1;
        return true;
    }

    /// <inheritdoc/>
    public void OnStopping() => _channel?.ReleaseHeld();

    /// <inheritdoc/>
    public void Detach()
    {
        if (_shared == null)
        {
            return;
        }

        var queue = _queue!;
        for (var i = 0; queue.UnderWayCount != 0 && i < queue.SlotCount; i++)
        {
            // Given up: the bdev is asked to let go of the guest's memory.
            var request = queue.GetSlot(i);
            if (request->IsUnderWay)
            {
                _channel!.Abort(new BlockRequestPointer((BlockRequest*)VirtioRequest.PrivateOf(request)));
            }
        }

        _channel = null;
        _shared.Close();
        _shared = null;
    }

    private static bool TryFindStatus(VirtioRequest* request, out byte* status)
    {
        status = null;
        if (request->WritableCount == 0)
        {
            return false;
        }

        // The status is the last byte of the device-writable part, whatever pieces that comes in.
        var last = request->Writable[request->WritableCount - 1];
        if (last.Address == null)
        {
            return false;
        }

        status = last.Address + last.LengthBytes - 1;
        return true;
    }

    /// <summary>Turns one request into a block request, or answers it.</summary>
    /// <returns>Whether the block request is to be submitted.</returns>
    private bool TryPrepare(VirtioRequest* request)
    {
        var blk = (BlkRequest*)VirtioRequest.PrivateOf(request);
        if (!TryFindStatus(request, out blk->Status))
        {
            _queue!.Reject(request, "a request has no place for its status");
            return false;
        }

        if (!TryTakeHeader(request, out var type, out var sector))
        {
            return Fail(request, blk, BlkProtocol.StatusIoError);
        }

        blk->RangeCount = 0;
        blk->RangesDone = 0;
        blk->Block.SegmentCount = 0;
        blk->Block.Flags = BlockRequestFlags.None;
        blk->WrittenBytes = 1;
        switch (type)
        {
            case BlkProtocol.TypeIn:
                return TryPrepareRead(request, blk, sector);
            case BlkProtocol.TypeOut:
                return TryPrepareWrite(request, blk, sector);
            case BlkProtocol.TypeFlush:
                blk->Block.Operation = BlockOperation.Flush;
                blk->Block.StartBlock = 0;
                blk->Block.BlockCount = 0;
                return _geometry.IsPresent || Fail(request, blk, BlkProtocol.StatusIoError);
            case BlkProtocol.TypeDiscard:
            case BlkProtocol.TypeWriteZeroes:
            case BlkProtocol.TypeSecureErase:
                var status = BlkRangeParser.Parse(request, blk, _geometry, type, _isWritethrough);
                return status == BlkProtocol.StatusOk || Fail(request, blk, status);
            case BlkProtocol.TypeGetId:
                GetId(request, blk);
                return false;
            case BlkProtocol.TypeGetLifetime:
                return GetLifetime(request, blk);
            default:
                return Fail(request, blk, BlkProtocol.StatusUnsupported);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryPrepareRead(VirtioRequest* request, BlkRequest* blk, ulong sector)
    {
        var lengthBytes = request->WritableBytes - 1;
        if (!_geometry.TryGetRange(sector, lengthBytes, out blk->Block.StartBlock, out blk->Block.BlockCount) || lengthBytes >= uint.MaxValue)
        {
            return Fail(request, blk, BlkProtocol.StatusIoError);
        }

        CutStatus(request);
        blk->Block.Operation = BlockOperation.Read;
        blk->Block.Segments = request->Writable;
        blk->Block.SegmentCount = request->WritableCount;
        blk->WrittenBytes = (uint)lengthBytes + 1;
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryPrepareWrite(VirtioRequest* request, BlkRequest* blk, ulong sector)
    {
        if (_geometry.IsReadOnly
            || !_geometry.TryGetRange(sector, request->ReadableBytes - BlkProtocol.HeaderBytes, out blk->Block.StartBlock, out blk->Block.BlockCount))
        {
            return Fail(request, blk, BlkProtocol.StatusIoError);
        }

        blk->Block.Operation = BlockOperation.Write;
        blk->Block.Flags = _isWritethrough ? BlockRequestFlags.ForceUnitAccess : BlockRequestFlags.None;
        blk->Block.Segments = request->Readable;
        blk->Block.SegmentCount = request->ReadableCount;
        return true;
    }

    /// <summary>Reads the header once and cuts it off, in any layout.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryTakeHeader(VirtioRequest* request, out uint type, out ulong sector)
    {
        if (request->ReadableCount != 0)
        {
            ref var first = ref request->Readable[0];
            if (first.LengthBytes >= BlkProtocol.HeaderBytes)
            {
                type = Volatile.Read(ref *(uint*)first.Address);
                sector = Volatile.Read(ref *(ulong*)(first.Address + 8));
                if (first.LengthBytes == BlkProtocol.HeaderBytes)
                {
                    request->Readable++;
                    request->ReadableCount--;
                }
                else
                {
                    first = new IoSegment(first.Address + BlkProtocol.HeaderBytes, first.LengthBytes - BlkProtocol.HeaderBytes);
                }

                return true;
            }
        }

        return TryTakeScatteredHeader(request, out type, out sector);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool TryTakeScatteredHeader(VirtioRequest* request, out uint type, out ulong sector)
    {
        var header = stackalloc byte[BlkProtocol.HeaderBytes];
        type = 0;
        sector = 0;
        if (!BlkGather.TryTake(request, new Span<byte>(header, BlkProtocol.HeaderBytes)))
        {
            return false;
        }

        type = *(uint*)header;
        sector = *(ulong*)(header + 8);
        return true;
    }

    private static void CutStatus(VirtioRequest* request)
    {
        ref var last = ref request->Writable[request->WritableCount - 1];
        if (last.LengthBytes == 1)
        {
            request->WritableCount--;
        }
        else
        {
            last = new IoSegment(last.Address, last.LengthBytes - 1);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool Fail(VirtioRequest* request, BlkRequest* blk, byte status)
    {
        *blk->Status = status;
        _queue!.Complete(request, 1);
        return false;
    }

    private void GetId(VirtioRequest* request, BlkRequest* blk)
    {
        Span<byte> id = stackalloc byte[BlkProtocol.IdBytes];
        id.Clear();
        var serial = options.Serial ?? _info?.SerialNumber ?? port.Name;
        Encoding.ASCII.GetBytes(serial.AsSpan(0, Math.Min(serial.Length, id.Length)), id);
        Answer(request, blk, id);
    }

    private bool GetLifetime(VirtioRequest* request, BlkRequest* blk)
    {
        if (_info?.LifeUsedPercent is not { } used)
        {
            return Fail(request, blk, BlkProtocol.StatusUnsupported);
        }

        if (request->WritableBytes - 1 < BlkProtocol.LifetimeBytes)
        {
            return Fail(request, blk, BlkProtocol.StatusIoError);
        }

        Span<byte> lifetime = stackalloc byte[BlkProtocol.LifetimeBytes];
        BlkLifetime.Write(lifetime, used, _info.SpareLeftPercent);
        Answer(request, blk, lifetime);
        return false;
    }

    private void Answer(VirtioRequest* request, BlkRequest* blk, ReadOnlySpan<byte> data)
    {
        var roomBytes = request->WritableBytes - 1;
        CutStatus(request);
        var written = BlkGather.Scatter(request, data[..(int)Math.Min(roomBytes, (ulong)data.Length)]);
        *blk->Status = BlkProtocol.StatusOk;
        // The status follows the data: only a buffer that is filled wholly counts up to it.
        _queue!.Complete(request, (uint)written == roomBytes ? (uint)written + 1 : (uint)written);
    }
}
