using System.Collections.Concurrent;
using System.Numerics;
using Vhost.Abstractions;
using Vhost.Host.Reactors;

namespace Vhost.Host.Bdevs;

/// <summary>
/// A reactor's channel into a <see cref="SimpleBdevAdapter"/>. Guest data is copied on the reactor, into and out of buffers of the host, so
/// that a method that returns late touches no guest's memory. Results come back in batches by a doorbell. Reactor thread only, but for <see cref="Return"/>.
/// </summary>
internal sealed unsafe class SimpleChannel : IBdevChannel
{
    // Greater requests are done in pieces, one after the other.
    private const int MaxPieceBytes = 1 << 20;
    private const int MinBufferShift = 12;
    private const int BufferClasses = 9; // 4 KiB to 1 MiB
    private const int MaxIdleBuffersPerClass = 32;

    private readonly SimpleBdevAdapter _adapter;
    private readonly IBdevCompletions _completions;
    private readonly ReactorDoorbell _doorbell;
    private readonly ConcurrentQueue<SimpleOperation> _returned = new();
    private readonly List<SimpleOperation?> _operations = [];
    private readonly Stack<int> _freeIndexes = new();
    private readonly Stack<SimpleOperation> _idle = new();
    private readonly Stack<byte[]>[] _buffers = new Stack<byte[]>[BufferClasses];
    private readonly LinkedList<nint> _backlog = [];
    private readonly List<BlockRequestPointer> _completed = [];
    private readonly List<SimpleOperation> _toEnqueue = [];
    private readonly List<nint> _aborted = [];
    private readonly int _maxActive;
    private readonly int _blockShift;
    private int _activeCount;
    private bool _isDisposed;

    internal SimpleChannel(SimpleBdevAdapter adapter, IReactor reactor, IBdevCompletions completions)
    {
        _adapter = adapter;
        _completions = completions;
        _blockShift = BitOperations.Log2(adapter.Info.BlockSizeBytes);
        // As many again as can run, so that the threads never wait for the reactor; the rest waits without a buffer.
        _maxActive = adapter.MaxConcurrency * 2;
        _doorbell = new ReactorDoorbell(reactor, $"bdev {adapter.Name}", OnDoorbell);
        for (var i = 0; i < BufferClasses; i++)
        {
            _buffers[i] = new Stack<byte[]>();
        }
    }

    /// <inheritdoc/>
    public void Submit(ReadOnlySpan<BlockRequestPointer> requests)
    {
        foreach (var request in requests)
        {
            if (_activeCount < _maxActive && _backlog.Count == 0)
            {
                Begin(request.Pointer);
            }
            else
            {
                request.Pointer->BdevScratch[0] = ulong.MaxValue;
                _backlog.AddLast((nint)request.Pointer);
            }
        }

        EnqueueAll();
    }

    /// <inheritdoc/>
    public void Abort(BlockRequestPointer request)
    {
        var pointer = request.Pointer;
        if (pointer->BdevScratch[0] == ulong.MaxValue)
        {
            if (_backlog.Remove((nint)pointer))
            {
                _aborted.Add((nint)pointer);
                _doorbell.Ring();
            }

            return;
        }

        var index = (int)pointer->BdevScratch[0];
        if ((uint)index >= (uint)_operations.Count || _operations[index] is not { } operation || operation.Request != (nint)pointer)
        {
            return;
        }

        operation.Cancel();
        if (operation.Operation == BlockOperation.Read)
        {
            // The buffer is the host's, so nobody need wait for a read. A write may still land, and its request stays pending until it has.
            GiveUp(operation);
            _aborted.Add((nint)pointer);
            _doorbell.Ring();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_isDisposed)
        {
            return;
        }

        _isDisposed = true;
        _backlog.Clear();
        _aborted.Clear();
        foreach (var operation in _operations)
        {
            if (operation is not null)
            {
                operation.Request = 0;
                operation.Cancel();
            }
        }

        while (_idle.TryPop(out var operation))
        {
            operation.Dispose();
        }
    }

    /// <summary>Takes an operation back from whoever ran it. Any thread.</summary>
    internal void Return(SimpleOperation operation)
    {
        _returned.Enqueue(operation);
        _doorbell.Ring();
    }

    private void OnDoorbell()
    {
        if (_isDisposed)
        {
            _returned.Clear();
            return;
        }

        _completed.Clear();
        foreach (var request in _aborted)
        {
            Complete((BlockRequest*)request, BlockStatus.Aborted);
        }

        _aborted.Clear();
        while (_returned.TryDequeue(out var operation))
        {
            OnReturned(operation);
        }

        while (_activeCount < _maxActive && _backlog.First is { } first)
        {
            _backlog.RemoveFirst();
            Begin((BlockRequest*)first.Value);
        }

        EnqueueAll();
        if (_completed.Count > 0)
        {
            _completions.OnCompleted(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_completed));
        }
    }

    private void OnReturned(SimpleOperation operation)
    {
        if (operation.Request == 0)
        {
            // Given up while it ran: its request was completed, and its buffer is not used again.
            operation.Dispose();
            return;
        }

        var request = (BlockRequest*)operation.Request;
        if (operation.Status == BlockStatus.Success)
        {
            if (operation.Operation == BlockOperation.Read)
            {
                CopySegments(request, operation.DoneBytes, operation.Buffer.AsSpan(0, (int)operation.LengthBytes), toSegments: true);
            }

            operation.DoneBytes += operation.LengthBytes;
            if (operation.Buffer is not null && operation.DoneBytes < (long)(request->BlockCount << _blockShift))
            {
                if (operation.IsCancelled)
                {
                    Retire(operation);
                    Complete(request, BlockStatus.Aborted);
                    return;
                }

                PreparePiece(operation, request);
                return;
            }
        }

        var status = operation.Status;
        Retire(operation);
        Complete(request, status);
    }

    private void Complete(BlockRequest* request, BlockStatus status)
    {
        request->Status = status;
        _completed.Add(new BlockRequestPointer(request));
    }

    private void Begin(BlockRequest* request)
    {
        if (!_idle.TryPop(out var operation))
        {
            operation = new SimpleOperation(this);
        }

        if (!_freeIndexes.TryPop(out var index))
        {
            index = _operations.Count;
            _operations.Add(null);
        }

        _operations[index] = operation;
        _activeCount++;
        operation.Index = index;
        operation.Request = (nint)request;
        operation.Operation = request->Operation;
        request->BdevScratch[0] = (ulong)index;
        PreparePiece(operation, request);
    }

    private void PreparePiece(SimpleOperation operation, BlockRequest* request)
    {
        operation.OffsetBytes = (long)(request->StartBlock << _blockShift) + operation.DoneBytes;
        var left = (long)(request->BlockCount << _blockShift) - operation.DoneBytes;
        if (operation.Operation is BlockOperation.Read or BlockOperation.Write)
        {
            operation.LengthBytes = Math.Min(left, MaxPieceBytes);
            operation.Buffer ??= RentBuffer((int)operation.LengthBytes);
            var buffer = operation.Buffer.AsSpan(0, (int)operation.LengthBytes);
            if (operation.Operation == BlockOperation.Write)
            {
                CopySegments(request, operation.DoneBytes, buffer, toSegments: false);
            }
            else
            {
                // A method that fills less than it should must not show one guest's data to another.
                buffer.Clear();
            }
        }
        else
        {
            operation.LengthBytes = left;
        }

        _toEnqueue.Add(operation);
    }

    private void EnqueueAll()
    {
        if (_toEnqueue.Count > 0)
        {
            _adapter.Enqueue(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_toEnqueue));
            _toEnqueue.Clear();
        }
    }

    private void Retire(SimpleOperation operation)
    {
        LeaveTable(operation);
        if (operation.Buffer is { } buffer)
        {
            var idle = _buffers[GetBufferClass(buffer.Length)];
            if (idle.Count < MaxIdleBuffersPerClass)
            {
                idle.Push(buffer);
            }

            operation.Buffer = null;
        }

        operation.Reset();
        _idle.Push(operation);
    }

    /// <summary>Nobody awaits the operation any more, but it still runs.</summary>
    private void GiveUp(SimpleOperation operation)
    {
        LeaveTable(operation);
        operation.Request = 0;
    }

    private void LeaveTable(SimpleOperation operation)
    {
        _operations[operation.Index] = null;
        _freeIndexes.Push(operation.Index);
        _activeCount--;
    }

    private byte[] RentBuffer(int length)
    {
        var bufferClass = GetBufferClass(length);
        return _buffers[bufferClass].TryPop(out var buffer)
            ? buffer
            : GC.AllocateUninitializedArray<byte>(1 << (bufferClass + MinBufferShift), pinned: true);
    }

    private static int GetBufferClass(int length) => Math.Max(0, BitOperations.Log2((uint)length - 1) + 1 - MinBufferShift);

    // SAFETY: the host has checked that the segments hold exactly the request's range; offset and length stay within it. The request is
    // under way, so its memory is leased to it.
    private static void CopySegments(BlockRequest* request, long offset, Span<byte> buffer, bool toSegments)
    {
        var skip = (ulong)offset;
        for (var i = 0; i < request->SegmentCount && buffer.Length > 0; i++)
        {
            var segment = request->Segments[i];
            if (segment.LengthBytes <= skip)
            {
                skip -= segment.LengthBytes;
                continue;
            }

            var length = (int)Math.Min(segment.LengthBytes - skip, (ulong)buffer.Length);
            var memory = new Span<byte>(segment.Address + skip, length);
            if (toSegments)
            {
                buffer[..length].CopyTo(memory);
            }
            else
            {
                memory.CopyTo(buffer);
            }

            buffer = buffer[length..];
            skip = 0;
        }
    }
}
