using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Plugins.File;

/// <content>What a request goes through: one system call after the other until it is done.</content>
internal sealed unsafe partial class ReactorQueue
{
    private const int MaxVectors = 1024; // UIO_MAXIOV
    private const ulong MaxTransferBytes = 1 << 30; // below the kernel's own limit, and a multiple of every block size
    private const ulong MaxInlineBytes = 1 << 20;
    private const ulong MaxReadNowBytes = 128 << 10; // a copy of some 20 us; longer ones are better cut by the io_uring's workers
    private const int MaxReadPenalty = 255;
    private const int MaxRetries = 1000;
    private const int ZeroBufferBytes = 1 << 20;
    private const int EDQUOT = 122; // asm-generic/errno.h

    // Shared by all queues, never written, and as long-lived as the process.
    private static readonly Lazy<MemoryMapping> ZeroBuffer = new(() => MemoryMapping.MapAnonymous(ZeroBufferBytes));

    private void Start(FileChannel channel, BlockRequest* request)
    {
        var file = channel.File;
        var step = StepOf(request, file);
        if (step is null)
        {
            Complete(channel, request, BlockStatus.Unsupported);
            return;
        }

        var syncs = step == FileStep.Sync || (request->Flags & BlockRequestFlags.ForceUnitAccess) != 0;
        if (syncs && request->Operation != BlockOperation.Read && file.HasSyncFailed)
        {
            Complete(channel, request, BlockStatus.IoError);
            return;
        }

        var index = _freeSlot;
        var slot = _slots + index;
        _freeSlot = slot->Next;
        *slot = default;
        slot->Request = request;
        slot->Channel = channel.Index;
        slot->Bounce = None;
        slot->Step = step.Value;
        slot->Offset = request->StartBlock * channel.BlockSizeBytes;
        slot->TotalBytes = request->BlockCount * channel.BlockSizeBytes;
        channel.SlotsInUse++;
        if (step == FileStep.Transfer && !ExamineSegments(slot, file))
        {
            Finish(index, BlockStatus.OutOfRange);
            return;
        }

        Issue(index);
    }

    private static FileStep? StepOf(BlockRequest* request, BackingFile file) => request->Operation switch
    {
        BlockOperation.Read or BlockOperation.Write => FileStep.Transfer,
        BlockOperation.Flush => FileStep.Sync,
        BlockOperation.Discard => FileStep.Discard,
        BlockOperation.WriteZeroes when (request->Flags & BlockRequestFlags.MayUnmap) != 0 && file.CanPunch => FileStep.PunchZeroes,
        BlockOperation.WriteZeroes => file.CanZeroRange ? FileStep.ZeroRange : FileStep.WriteZeroes,
        _ => null,
    };

    /// <summary>Whether the segments are as long as the range; notes whether O_DIRECT can use them.</summary>
    private static bool ExamineSegments(FileSlot* slot, BackingFile file)
    {
        var request = slot->Request;
        var left = slot->TotalBytes;
        nuint bits = 0;
        for (var i = 0; i < request->SegmentCount; i++)
        {
            var segment = request->Segments[i];
            if (segment.LengthBytes > left)
            {
                return false;
            }

            left -= segment.LengthBytes;
            bits |= (nuint)segment.Address | segment.LengthBytes;
        }

        if ((bits & (file.Facts.AlignmentBytes - 1)) != 0)
        {
            slot->IsBounced = true;
            file.CountBounce();
        }

        return left == 0;
    }

    /// <summary>Makes the next system call for a slot.</summary>
    private void Issue(int index)
    {
        var slot = _slots + index;
        var channel = _channels[slot->Channel]!;
        if (slot->Request == null)
        {
            FreeSlot(index, channel);
            return;
        }

        if (slot->IsBounced && slot->Bounce == None)
        {
            slot->Bounce = _bounces.TryTake();
            if (slot->Bounce == None)
            {
                _awaitBounce.Add(_slots, index);
                return;
            }
        }

        var command = CommandOf(slot, channel);
        if (command.LengthBytes == 0 && command.Kind is FileCommandKind.DiscardDevice)
        {
            Finish(index, BlockStatus.Success); // less than a block of the device: nothing to release
            return;
        }

        if (_ring is not null && channel.File.Facts.IsInMemory && IsShort(command, slot))
        {
            // The kernel's io_uring has no fast way into tmpfs: it would wake a worker thread for what is one copy.
            OnResult(index, command.Execute());
            return;
        }

        if (_ring is not null && TryReadNow(channel, slot, command, out var result))
        {
            OnResult(index, result);
            return;
        }

        if (_ring is null || command.Kind == FileCommandKind.DiscardDevice)
        {
            channel.File.Workers.Enqueue(this, index, command);
            return;
        }

        var entry = _ring.TryGetEntry();
        if (entry == null)
        {
            SubmitRing();
            entry = _ring.TryGetEntry();
        }

        if (entry == null)
        {
            _again.Add(_slots, index);
            return;
        }

        command.Prepare(entry, (ulong)index);
    }

    /// <summary>Whether a command on a file in memory takes no longer than a copy by the malloc bdev would.</summary>
    private static bool IsShort(in FileCommand command, FileSlot* slot) =>
        slot->Step == FileStep.Sync || (slot->Step == FileStep.Transfer && command.LengthBytes <= MaxInlineBytes);

    /// <summary>
    /// Reads what is in the page cache at once, by a call that does not wait for the disk: a quarter less work for the kernel than an io_uring with one
    /// entry. Long batches share one call of the io_uring instead. After a miss the next requests do not try, the more the longer the misses last, so that a load that misses the cache pays next to nothing.
    /// </summary>
    /// <returns>False if the request has to go the long way.</returns>
    private bool TryReadNow(FileChannel channel, FileSlot* slot, FileCommand command, out int result)
    {
        result = 0;
        if (!_isShortBatch || !channel.File.CanReadNow || slot->Step != FileStep.Transfer || slot->Request->Operation != BlockOperation.Read || command.LengthBytes > MaxReadNowBytes)
        {
            return false;
        }

        if (channel.ReadsToSkip > 0)
        {
            channel.ReadsToSkip--;
            return false;
        }

        command.Flags |= ReadWriteFlags.NoWait;
        result = command.Execute();
        switch (result)
        {
            case > 0:
                channel.ReadPenalty = 0;
                return true;
            case -Errno.EOPNOTSUPP or -Errno.EINVAL or -Errno.ENOSYS:
                channel.File.CanReadNow = false;
                return false;
            default:
                // Not in the cache, or at its end, or a fault: the long way finds out and tells.
                channel.ReadPenalty = Math.Min((channel.ReadPenalty * 2) + 1, MaxReadPenalty);
                channel.ReadsToSkip = channel.ReadPenalty;
                return false;
        }
    }

    private void IssueAgain()
    {
        while (!_awaitBounce.IsEmpty && _bounces.HasFree)
        {
            // Each of them takes a buffer or, if its channel is closed, none.
            Issue(_awaitBounce.Take(_slots));
        }

        // Those that find no room queue up anew, behind the ones that were there.
        var waiting = _again;
        _again = SlotList.Empty;
        while (!waiting.IsEmpty)
        {
            Issue(waiting.Take(_slots));
        }
    }

    private FileCommand CommandOf(FileSlot* slot, FileChannel channel)
    {
        var file = channel.File;
        var command = new FileCommand
        {
            FileDescriptor = file.Descriptor,
            FileNumber = slot->Step == FileStep.Transfer && slot->Request->Operation == BlockOperation.Read ? channel.FileNumber : FileTable.None,
            Offset = slot->Offset + slot->DoneBytes,
            LengthBytes = slot->TotalBytes - slot->DoneBytes,
        };
        switch (slot->Step)
        {
            case FileStep.Transfer:
                SetTransfer(ref command, slot);
                break;
            case FileStep.Sync:
                command.Kind = FileCommandKind.Sync;
                break;
            case FileStep.Discard when file.Facts.IsBlockDevice:
                var mask = (ulong)file.Facts.RangeAlignmentBytes - 1;
                var end = (slot->Offset + slot->TotalBytes) & ~mask;
                command.Kind = FileCommandKind.DiscardDevice;
                command.Offset = (slot->Offset + mask) & ~mask;
                command.LengthBytes = end > command.Offset ? end - command.Offset : 0;
                break;
            case FileStep.Discard or FileStep.PunchZeroes:
                command.Kind = FileCommandKind.Fallocate;
                command.Mode = FallocateMode.PunchHole | FallocateMode.KeepSize;
                break;
            case FileStep.ZeroRange:
                command.Kind = FileCommandKind.Fallocate;
                command.Mode = FallocateMode.ZeroRange | FallocateMode.KeepSize;
                break;
            default:
                command.Kind = FileCommandKind.Write;
                command.Data = ZeroBuffer.Value.Address;
                command.LengthBytes = Math.Min(command.LengthBytes, ZeroBufferBytes);
                break;
        }

        return command;
    }

    private void SetTransfer(ref FileCommand command, FileSlot* slot)
    {
        var request = slot->Request;
        var isWrite = request->Operation == BlockOperation.Write;
        command.Flags = isWrite && (request->Flags & BlockRequestFlags.ForceUnitAccess) != 0 ? ReadWriteFlags.DataSync : ReadWriteFlags.None;
        var single = isWrite ? FileCommandKind.Write : FileCommandKind.Read;
        if (slot->IsBounced)
        {
            command.Kind = single;
            command.Data = _bounces.AddressOf(slot->Bounce);
            command.LengthBytes = Math.Min(command.LengthBytes, BouncePool.BufferBytes);
            if (isWrite)
            {
                SegmentCursor.Gather(slot, (byte*)command.Data, (nuint)command.LengthBytes);
            }

            return;
        }

        // A segment that was transferred in part goes on alone; the rest is the submitter's own array, which looks like the kernel's.
        SegmentCursor.SkipEmpty(slot);
        var segments = request->Segments + slot->SegmentIndex;
        var left = request->SegmentCount - slot->SegmentIndex;
        if (left == 1 || slot->SegmentOffset != 0)
        {
            command.Kind = single;
            command.Data = segments->Address + slot->SegmentOffset;
            command.LengthBytes = Math.Min(segments->LengthBytes - slot->SegmentOffset, MaxTransferBytes);
        }
        else
        {
            command.Kind = isWrite ? FileCommandKind.WriteVector : FileCommandKind.ReadVector;
            command.Data = segments;
            command.VectorCount = Math.Min(left, MaxVectors);
        }
    }

    /// <summary>Takes the result of a slot's system call.</summary>
    private void OnResult(int index, int result)
    {
        var slot = _slots + index;
        if (slot->Request == null)
        {
            FreeSlot(index, _channels[slot->Channel]!);
            return;
        }

        if (result is -Errno.EAGAIN or -Errno.EINTR)
        {
            if (++slot->Retries > MaxRetries)
            {
                Finish(index, BlockStatus.Busy);
            }
            else
            {
                _again.Add(_slots, index);
            }

            return;
        }

        slot->Retries = 0;
        var file = _channels[slot->Channel]!.File;
        if (result < 0)
        {
            OnError(index, file, -result);
            return;
        }

        switch (slot->Step)
        {
            case FileStep.Transfer or FileStep.WriteZeroes:
                OnTransferred(index, (nuint)result);
                break;
            case FileStep.PunchZeroes or FileStep.ZeroRange:
                OnZeroed(index);
                break;
            default:
                Finish(index, BlockStatus.Success);
                break;
        }
    }

    private void OnTransferred(int index, nuint bytes)
    {
        var slot = _slots + index;
        if (bytes == 0)
        {
            // The file ends before the bdev: it was cut, and the size is not noticed yet.
            Finish(index, BlockStatus.IoError);
            return;
        }

        if (slot->Step == FileStep.Transfer)
        {
            if (slot->IsBounced && slot->Request->Operation == BlockOperation.Read)
            {
                SegmentCursor.Scatter(slot, _bounces.AddressOf(slot->Bounce), bytes);
            }

            SegmentCursor.Advance(slot, bytes);
        }

        slot->DoneBytes += bytes;
        if (slot->DoneBytes < slot->TotalBytes)
        {
            Issue(index);
        }
        else if (slot->Step == FileStep.WriteZeroes)
        {
            OnZeroed(index);
        }
        else
        {
            Finish(index, BlockStatus.Success);
        }
    }

    private void OnZeroed(int index)
    {
        if ((_slots[index].Request->Flags & BlockRequestFlags.ForceUnitAccess) == 0)
        {
            Finish(index, BlockStatus.Success);
            return;
        }

        _slots[index].Step = FileStep.Sync;
        Issue(index);
    }

    private void OnError(int index, BackingFile file, int error)
    {
        var slot = _slots + index;
        var isRefusal = error is Errno.EOPNOTSUPP or Errno.ENOSYS or Errno.EINVAL or Errno.ENODEV;
        switch (slot->Step)
        {
            case FileStep.Sync:
                file.ReportSyncFailure(error);
                break;

            case FileStep.Transfer when error == Errno.EFAULT && file.Facts.AlignmentBytes > 1 && !slot->IsBounced:
                // Device memory, such as the BAR of a guest: the kernel can copy there, but a disk cannot reach it.
                slot->IsBounced = true;
                file.CountBounce();
                Issue(index);
                return;

            case FileStep.Transfer when error == Errno.EIO && (slot->Request->Flags & BlockRequestFlags.ForceUnitAccess) != 0 && slot->Request->Operation == BlockOperation.Write:
                file.ReportSyncFailure(error); // it may have been the sync that failed, and then it took other writes along
                break;

            case FileStep.PunchZeroes when isRefusal:
                file.CanPunch = false;
                slot->Step = file.CanZeroRange ? FileStep.ZeroRange : FileStep.WriteZeroes;
                Issue(index);
                return;

            case FileStep.ZeroRange when isRefusal:
                file.CanZeroRange = error == Errno.EINVAL && file.Facts.RangeAlignmentBytes > 1; // there it may be this range's alignment
                slot->Step = FileStep.WriteZeroes;
                Issue(index);
                return;
        }

        Finish(index, StatusOf(error, isRefusal && slot->Step == FileStep.Discard));
    }

    private static BlockStatus StatusOf(int error, bool isRefusal) => error switch
    {
        _ when isRefusal => BlockStatus.Unsupported,
        Errno.ENOSPC or EDQUOT => BlockStatus.NoSpace,
        Errno.EROFS => BlockStatus.ReadOnly,
        Errno.ENXIO or Errno.ENODEV => BlockStatus.NoDevice,
        Errno.ETIMEDOUT => BlockStatus.TimedOut,
        Errno.ECANCELED => BlockStatus.Aborted,
        _ => BlockStatus.IoError,
    };

    private void Finish(int index, BlockStatus status)
    {
        var channel = _channels[_slots[index].Channel]!;
        Complete(channel, _slots[index].Request, status);
        FreeSlot(index, channel);
    }
}
