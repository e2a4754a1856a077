using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.Host.Bdevs;

/// <summary>
/// A request that the host does by several of the bdev's own operations, one after the other: zeroes by writes, force unit access by a flush,
/// compare by reads, compare-and-write by reads and a write while it alone may write to the range, an atomic write by one while nobody else uses the range. Reactor thread
/// only; reused.
/// </summary>
internal sealed unsafe class EmulatedOperation(ChannelBinding binding)
{
    /// <summary>How much is read at a time for comparing.</summary>
    internal const int BufferBytes = 128 * 1024;

    private readonly BlockRequest* _step = (BlockRequest*)NativeMemory.AllocZeroed((nuint)sizeof(BlockRequest));
    private IoSegment* _segments = (IoSegment*)NativeMemory.Alloc(InitialSegments, (nuint)sizeof(IoSegment));
    private int _segmentCapacity = InitialSegments;
    private byte* _buffer;
    private Phase _phase;
    private ulong _doneBlocks;
    private RangeFreeze? _freeze;

    private const int InitialSegments = 8;

    private enum Phase
    {
        Idle,
        WaitingForRange,
        Zeroing,
        Comparing,
        Writing,
        Flushing,
    }

    /// <summary>The request that is emulated.</summary>
    internal BlockRequest* Request { get; private set; }

    /// <summary>The host's own request of the present step.</summary>
    internal BlockRequest* Step => _step;

    /// <summary>Index in the binding's list.</summary>
    internal int Index { get; private set; }

    internal bool IsStepUnderWay => _step->HostState == RequestState.Internal;

    internal bool IsCompare => Request->Operation == BlockOperation.Compare;

    /// <summary>Whether it uses its range alone, and takes its turn with others that do.</summary>
    internal bool TakesRange { get; private set; }

    /// <summary>Whether one that takes its range waits for this one.</summary>
    internal bool IsAwaited { get; set; }

    /// <summary>Whether the user wants it to end early.</summary>
    internal bool IsAborted { get; set; }

    internal void Prepare(BlockRequest* request, int index)
    {
        Request = request;
        Index = index;
        IsAborted = false;
        IsAwaited = false;
        TakesRange = binding.Limits.TakesRange(request);
        _doneBlocks = 0;
        _phase = Phase.Idle;
    }

    internal void Start()
    {
        if (IsAborted)
        {
            End(BlockStatus.Aborted);
        }
        else if (TakesRange)
        {
            _phase = Phase.WaitingForRange;
            _freeze = binding.AcquireRange(Request, OnRangeGranted);
        }
        else if (IsCompare)
        {
            _phase = Phase.Comparing;
            ReadPiece();
        }
        else if (Request->Operation == BlockOperation.WriteZeroes && !binding.Limits.IsNative(BlockOperation.WriteZeroes))
        {
            _phase = Phase.Zeroing;
            WriteZeroPiece();
        }
        else
        {
            WriteWhole();
        }
    }

    /// <summary>The bdev has done the present step.</summary>
    internal void OnStepDone()
    {
        if (_phase == Phase.Idle)
        {
            return;
        }

        if (_step->Status != BlockStatus.Success)
        {
            End(_step->Status, _step->Information);
            return;
        }

        switch (_phase)
        {
            case Phase.Zeroing:
                _doneBlocks += _step->BlockCount;
                if (_doneBlocks == Request->BlockCount)
                {
                    FlushOrEnd();
                }
                else if (!EndIfAborted())
                {
                    WriteZeroPiece();
                }

                break;
            case Phase.Comparing:
                OnPieceRead();
                break;
            case Phase.Writing:
                FlushOrEnd();
                break;
            default:
                End(BlockStatus.Success);
                break;
        }
    }

    /// <summary>Lets go of the range.</summary>
    internal RangeFreeze? TakeFreeze()
    {
        var freeze = _freeze;
        _freeze = null;
        return freeze;
    }

    /// <summary>Frees the native memory. The object is not used again.</summary>
    internal void Free()
    {
        NativeMemory.Free(_step);
        NativeMemory.Free(_segments);
        NativeMemory.AlignedFree(_buffer);
        _segments = null;
        _buffer = null;
    }

    private void OnRangeGranted() => binding.RunPosted(() =>
    {
        if (_phase != Phase.WaitingForRange || EndIfAborted())
        {
            return;
        }

        if (Request->Operation == BlockOperation.Write)
        {
            WriteWhole();
        }
        else
        {
            _phase = Phase.Comparing;
            ReadPiece();
        }
    });

    // The bdev does it, but for force unit access where it lacks that: it is a flush afterwards.
    private void WriteWhole()
    {
        _phase = Phase.Writing;
        *_step = *Request;
        if (binding.Limits.NeedsFlushAfter(Request->Operation))
        {
            _step->Flags &= ~BlockRequestFlags.ForceUnitAccess;
        }

        Submit();
    }

    private void OnPieceRead()
    {
        var shift = binding.Limits.BlockShift;
        var offset = _doneBlocks << shift;
        var length = _step->BlockCount << shift;
        var difference = FindDifference(offset, length);
        if (difference >= 0)
        {
            End(BlockStatus.Miscompare, offset + (ulong)difference);
            return;
        }

        _doneBlocks += _step->BlockCount;
        if (_doneBlocks < Request->BlockCount)
        {
            if (!EndIfAborted())
            {
                ReadPiece();
            }
        }
        else if (!TakesRange)
        {
            End(BlockStatus.Success);
        }
        else if (!EndIfAborted())
        {
            WriteSecondHalf();
        }
    }

    private bool EndIfAborted()
    {
        if (IsAborted)
        {
            End(BlockStatus.Aborted);
        }

        return IsAborted;
    }

    private void FlushOrEnd()
    {
        if ((Request->Flags & BlockRequestFlags.ForceUnitAccess) != 0 && binding.Limits.NeedsFlushAfter(Request->Operation))
        {
            _phase = Phase.Flushing;
            SetStep(BlockOperation.Flush, 0, 0);
            _step->SegmentCount = 0;
            Submit();
        }
        else
        {
            End(BlockStatus.Success);
        }
    }

    private void End(BlockStatus status, ulong information = 0)
    {
        _phase = Phase.Idle;
        binding.FinishEmulated(this, status, information);
    }

    private void ReadPiece()
    {
        if (_buffer is null)
        {
            _buffer = (byte*)NativeMemory.AlignedAlloc(BufferBytes, 4096);
        }

        var shift = binding.Limits.BlockShift;
        var count = Math.Min(Request->BlockCount - _doneBlocks, (ulong)BufferBytes >> shift);
        SetStep(BlockOperation.Read, Request->StartBlock + _doneBlocks, count);
        _segments[0] = new IoSegment(_buffer, (nuint)(count << shift));
        Submit();
    }

    private void WriteZeroPiece()
    {
        var shift = binding.Limits.BlockShift;
        var count = Math.Min(Request->BlockCount - _doneBlocks, (ulong)ZeroBuffer.LengthBytes >> shift);
        SetStep(BlockOperation.Write, Request->StartBlock + _doneBlocks, count);
        _segments[0] = new IoSegment(ZeroBuffer.Address, (nuint)(count << shift));
        Submit();
    }

    private void WriteSecondHalf()
    {
        _phase = Phase.Writing;
        if (_segmentCapacity < Request->SegmentCount)
        {
            _segmentCapacity = Request->SegmentCount;
            _segments = (IoSegment*)NativeMemory.Realloc(_segments, (nuint)_segmentCapacity * (nuint)sizeof(IoSegment));
        }

        SetStep(BlockOperation.Write, Request->StartBlock, Request->BlockCount);
        var skip = Request->BlockCount << binding.Limits.BlockShift;
        var count = 0;
        for (var i = 0; i < Request->SegmentCount; i++)
        {
            var segment = Request->Segments[i];
            if (segment.LengthBytes <= skip)
            {
                skip -= segment.LengthBytes;
                continue;
            }

            _segments[count++] = new IoSegment(segment.Address + skip, segment.LengthBytes - (nuint)skip);
            skip = 0;
        }

        _step->SegmentCount = count;
        Submit();
    }

    private void SetStep(BlockOperation operation, ulong start, ulong count)
    {
        _step->Operation = operation;
        // Where the bdev has force unit access itself, each write carries it; elsewhere one flush follows at the end.
        var isDurable = operation == BlockOperation.Write && !binding.Limits.NeedsFlushAfter(BlockOperation.Write);
        _step->Flags = isDurable ? Request->Flags & BlockRequestFlags.ForceUnitAccess : BlockRequestFlags.None;
        _step->StartBlock = start;
        _step->BlockCount = count;
        _step->SegmentCount = 1;
        _step->Segments = _segments;
    }

    private void Submit()
    {
        _step->Status = BlockStatus.Success;
        _step->HostState = RequestState.Idle;
        binding.SubmitInternal(this, _step);
    }

    /// <summary>Compares what was read with the user's data from an offset on; -1 if they are equal.</summary>
    // SAFETY: the port has checked that the segments hold at least the whole range, so the walk stays within them.
    private long FindDifference(ulong offset, ulong length)
    {
        var position = 0UL;
        for (var i = 0; i < Request->SegmentCount && position < length; i++)
        {
            var segment = Request->Segments[i];
            if (segment.LengthBytes <= offset)
            {
                offset -= segment.LengthBytes;
                continue;
            }

            var piece = (int)Math.Min(segment.LengthBytes - offset, length - position);
            var common = new ReadOnlySpan<byte>(_buffer + position, piece).CommonPrefixLength(new ReadOnlySpan<byte>(segment.Address + offset, piece));
            if (common < piece)
            {
                return (long)position + common;
            }

            position += (ulong)piece;
            offset = 0;
        }

        return -1;
    }
}

/// <summary>Zeroes that every emulated write-zeroes writes from; never written, never freed.</summary>
internal static unsafe class ZeroBuffer
{
    internal const int LengthBytes = 1024 * 1024;

    // SAFETY: allocated once, zeroed before it is published, and nobody gets to write to it.
    internal static readonly byte* Address = Allocate();

    private static byte* Allocate()
    {
        var address = (byte*)NativeMemory.AlignedAlloc(LengthBytes, 4096);
        NativeMemory.Clear(address, LengthBytes);
        return address;
    }
}
