using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Pci;
using Vhost.Plugins.VirtioScsi.Controller;
using Vhost.Plugins.VirtioScsi.Scsi;
using Vhost.Virtio;

namespace Vhost.Plugins.VirtioScsi.Queues;

/// <summary>How the queue makes commands out of requests.</summary>
internal sealed unsafe partial class RequestQueue
{
    private const int MaxPieces = 128;
    private const int RequestHeaderBytes = 19;
    private const int RequestBytes = RequestHeaderBytes + HbaConfig.CdbBytes;
    private const int ResponseBytes = 12 + HbaConfig.SenseBytes;
    private const int UnmapListBytes = 24;

    /// <inheritdoc/>
    protected override void Pump()
    {
        if (State != QueueState.Running || _memory is null)
        {
            return;
        }

        var isSent = false;
        while (HasFreeSlot && _exchanges.TryDequeue(out var exchange))
        {
            ref var slot = ref Prepare(out var index);
            ref var command = ref Begin(index, exchange.Unit);
            command.Exchange = exchange;
            command.Cdb = exchange.Cdb;
            Take(ref slot, null, 0);
            isSent |= Send(index);
        }

        // Where it stops before a slot is missing, a bounce buffer is: one comes back with the next bounced completion.
        while (HasFreeSlot && FirstPending != null && TryIssue(FirstPending))
        {
            isSent = true;
        }

        if (isSent && _memory.Ring.Publish())
        {
            _doorbell!.Notify();
        }
    }

    private ref ScsiCommand Begin(int index, LogicalUnit unit)
    {
        ref var command = ref _commands[index];
        command.Unit = unit;
        command.Generation++;
        command.RetryCount = 0;
        return ref command;
    }

    private bool TryIssue(BlockRequest* request)
    {
        ref var progress = ref RequestProgress.Of(request);
        var disk = ((VirtioScsiChannel)ChannelOf(request)).Disk;
        var startBlock = request->StartBlock + progress.BlocksIssued;
        var blocksLeft = request->BlockCount - progress.BlocksIssued;
        var isFua = (request->Flags & BlockRequestFlags.ForceUnitAccess) != 0;
        ref var slot = ref Prepare(out var index);
        ref var command = ref Begin(index, disk.Unit);
        slot.BlockOffset = progress.BlocksIssued;
        ulong blocks;
        switch (request->Operation)
        {
            case BlockOperation.Flush:
                blocks = 0;
                command.Cdb = InitiatorCdb.SynchronizeCache();
                break;
            case BlockOperation.Discard:
                blocks = Math.Min(blocksLeft, disk.Identity.MaxUnmapBlocks);
                command.Cdb = InitiatorCdb.Unmap(UnmapListBytes);
                WriteUnmapList(index, startBlock, (uint)blocks);
                break;
            case BlockOperation.WriteZeroes:
                blocks = Math.Min(blocksLeft, Math.Min(disk.Identity.MaxWriteSameBlocks, uint.MaxValue));
                command.Cdb = InitiatorCdb.WriteSame16(
                    startBlock, (uint)blocks, disk.Identity.CanUnmapToZeroes && (request->Flags & BlockRequestFlags.MayUnmap) != 0);
                break;
            default:
                if (!TryChooseData(ref slot, request, ref progress, disk, blocksLeft, out blocks))
                {
                    return false;
                }

                command.Cdb = request->Operation == BlockOperation.Read
                    ? InitiatorCdb.Read(startBlock, (uint)blocks)
                    : InitiatorCdb.Write(startBlock, (uint)blocks, isFua);
                break;
        }

        Take(ref slot, request, blocks);
        Send(index);
        return true;
    }

    // Takes as much data as one command can carry: whole blocks, in at most so many pieces as the device takes.
    private bool TryChooseData(ref CommandSlot slot, BlockRequest* request, ref RequestProgress progress, VirtioScsiDisk disk, ulong blocksLeft, out ulong blocks)
    {
        var blockBytes = (nuint)disk.BlockSizeBytes;
        var mostBlocks = Math.Min(Math.Min(blocksLeft, disk.Identity.MaxTransferBlocks), _maxTransferBytes / blockBytes);
        var limit = (nuint)Math.Max(mostBlocks, 1) * blockBytes;
        var cursor = new SegmentCursor(request->Segments, request->SegmentCount, progress.SegmentIndex, progress.SegmentOffset);
        slot.SegmentIndex = progress.SegmentIndex;
        slot.SegmentOffset = progress.SegmentOffset;
        var mapped = Measure(cursor, limit) & ~(blockBytes - 1);
        if (mapped == 0)
        {
            if (!TryBounce(ref slot, request, cursor, limit, out mapped))
            {
                blocks = 0;
                return false;
            }
        }

        slot.LengthBytes = (uint)mapped;
        cursor.Skip(mapped);
        progress.SegmentIndex = cursor.Index;
        progress.SegmentOffset = cursor.Offset;
        blocks = mapped / blockBytes;
        return true;
    }

    private nuint Measure(SegmentCursor cursor, nuint limit)
    {
        nuint total = 0;
        for (var pieces = 0; pieces < _maxSegments && total < limit && cursor.TryPeek(limit - total, out var address, out var wanted); pieces++)
        {
            if (!_dma!.TryTranslate((nint)address, wanted, out _, out var length))
            {
                break;
            }

            total += length;
            cursor.Advance(length);
        }

        return total;
    }

    /// <summary>Puts a slot's command into the ring. The ring has room, because there are no more slots than it can hold.</summary>
    [SkipLocalsInit]
    private bool Send(int index)
    {
        ref var slot = ref Slot(index);
        ref var command = ref _commands[index];
        var page = _memory!.Pages.Page(index, out var iova);
        // SAFETY: request, response and small data lie within the slot's page, which the device does not have at this moment.
        *(ulong*)page = command.Unit.Address;
        *(ulong*)(page + 8) = TagOf(index);
        page[16] = page[17] = page[18] = 0; // simple task, no priority, no command reference number
        ((ReadOnlySpan<byte>)command.Cdb).CopyTo(new Span<byte>(page + RequestHeaderBytes, HbaConfig.CdbBytes));
        *(ulong*)(page + QueueMemory.ResponseOffset) = 0;
        *(uint*)(page + QueueMemory.ResponseOffset + 8) = 0x0900_0000; // response FAILURE until the device says otherwise

        Span<DriverSegment> readable = stackalloc DriverSegment[MaxPieces + 1];
        Span<DriverSegment> writable = stackalloc DriverSegment[MaxPieces + 1];
        readable[0] = new(iova, RequestBytes);
        writable[0] = new(iova + QueueMemory.ResponseOffset, ResponseBytes);
        var readableCount = 1;
        var writableCount = 1;
        if (command.Exchange is { } exchange)
        {
            if (exchange.DataInBytes != 0)
            {
                writable[writableCount++] = new(iova + QueueMemory.DataOffset, (uint)exchange.DataInBytes);
            }
        }
        else
        {
            switch (slot.Request->Operation)
            {
                case BlockOperation.Read:
                    writableCount += AddData(ref slot, writable[1..]);
                    break;
                case BlockOperation.Write:
                    readableCount += AddData(ref slot, readable[1..]);
                    break;
                case BlockOperation.Discard:
                    readable[readableCount++] = new(iova + QueueMemory.DataOffset, UnmapListBytes);
                    break;
                case BlockOperation.WriteZeroes:
                    readable[readableCount++] = new(_memory.Zeroes!.Iova, ((VirtioScsiChannel)ChannelOf(slot.Request)).Disk.BlockSizeBytes);
                    break;
                default:
                    break;
            }
        }

        if (_memory.Ring.TryAdd(readable[..readableCount], writable[..writableCount], (uint)index))
        {
            return true;
        }

        // The ring is broken (it cannot be full): the poller finds out and asks for a reset, which ends the command.
        _owner.RequestReset(_memory.Ring.BrokenReason ?? "the request ring took no command although a slot was free");
        return false;
    }

    private int AddData(ref CommandSlot slot, Span<DriverSegment> pieces)
    {
        if (slot.BounceIndex >= 0)
        {
            pieces[0] = new(_memory!.Bounce!.Iova(slot.BounceIndex), slot.LengthBytes);
            return 1;
        }

        var cursor = new SegmentCursor(slot.Request->Segments, slot.Request->SegmentCount, slot.SegmentIndex, slot.SegmentOffset);
        nuint left = slot.LengthBytes;
        var count = 0;
        while (left != 0 && count < pieces.Length && cursor.TryPeek(left, out var address, out var wanted)
            && _dma!.TryTranslate((nint)address, wanted, out var iova, out var length))
        {
            pieces[count++] = new(iova, (uint)length);
            cursor.Advance(length);
            left -= length;
        }

        return count;
    }

    private void WriteUnmapList(int index, ulong startBlock, uint blocks)
    {
        var page = _memory!.Pages.Page(index, out _);
        var list = new Span<byte>(page + QueueMemory.DataOffset, UnmapListBytes);
        list.Clear();
        BinaryPrimitives.WriteUInt16BigEndian(list, UnmapListBytes - 2);
        BinaryPrimitives.WriteUInt16BigEndian(list[2..], 16);
        BinaryPrimitives.WriteUInt64BigEndian(list[8..], startBlock);
        BinaryPrimitives.WriteUInt32BigEndian(list[16..], blocks);
    }
}
