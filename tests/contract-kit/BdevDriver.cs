using System.Diagnostics;
using System.Runtime.InteropServices;
using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.ContractKit;

/// <summary>
/// A channel with its requests and buffers in native memory, driven from a test. It checks that each request is completed exactly once,
/// with a status, and that what does not belong to the bdev is left alone.
/// </summary>
public sealed unsafe class BdevDriver : IBdevCompletions, IDisposable
{
    private const nint Idle = 0;
    private const nint Outstanding = 1;
    private const int MaxSegments = 32;

    private readonly ManualReactor _reactor;
    private readonly BlockRequest* _requests;
    private readonly IoSegment* _segments;
    private readonly BlockRequestPointer[] _batch;
    private int _batchCount;
    private bool _isDisposed;

    public BdevDriver(ManualReactor reactor, IChannelBdev bdev, int queueDepth)
    {
        _reactor = reactor;
        QueueDepth = queueDepth;
        Bdev = bdev;
        _requests = (BlockRequest*)NativeMemory.AllocZeroed((nuint)(queueDepth * sizeof(BlockRequest)));
        _segments = (IoSegment*)NativeMemory.AllocZeroed((nuint)(queueDepth * MaxSegments * sizeof(IoSegment)));
        _batch = new BlockRequestPointer[queueDepth];
        IBdevChannel? channel = null;
        reactor.Invoke(() => channel = bdev.OpenChannel(reactor, this));
        Channel = channel!;
    }

    public IChannelBdev Bdev { get; }

    public IBdevChannel Channel { get; }

    public int QueueDepth { get; }

    /// <summary>Further reactors that <see cref="Wait"/> turns, for sources that need all of them to go on.</summary>
    public ManualReactor[] AlsoTurns { get; init; } = [];

    /// <summary>Requests that were submitted and not completed.</summary>
    public int OutstandingCount { get; private set; }

    /// <summary>Requests that were completed, ever.</summary>
    public long CompletedCount { get; private set; }

    /// <summary>The request with an index below the queue depth.</summary>
    public BlockRequest* Request(int index) => _requests + index;

    /// <summary>Fills a request and adds it to the batch; the data is cut at the given offsets.</summary>
    public void Add(
        int index, BlockOperation operation, ulong start, ulong count, byte* data = null, nuint length = 0, BlockRequestFlags flags = BlockRequestFlags.None,
        ReadOnlySpan<int> cuts = default)
    {
        var request = _requests + index;
        if (request->SubmitterContext != Idle)
        {
            throw new InvalidOperationException($"request {index} is outstanding");
        }

        var segments = _segments + (index * MaxSegments);
        var segmentCount = 0;
        nuint at = 0;
        foreach (var cut in cuts)
        {
            if ((nuint)cut > at && (nuint)cut < length)
            {
                segments[segmentCount++] = new IoSegment(data + at, (nuint)cut - at);
                at = (nuint)cut;
            }
        }

        if (length > at)
        {
            segments[segmentCount++] = new IoSegment(data + at, length - at);
        }

        request->Operation = operation;
        request->Flags = flags;
        request->Status = (BlockStatus)0xEE;
        request->StartBlock = start;
        request->BlockCount = count;
        request->Segments = segments;
        request->SegmentCount = segmentCount;
        request->Information = ulong.MaxValue;
        request->HostState = 0x5A;
        request->HostScratch[0] = 0x1122334455667788;
        for (var i = 0; i < 6; i++)
        {
            request->BdevScratch[i] = 0xDEADDEADDEADDEAD; // undefined at submission
        }

        request->SubmitterContext = Outstanding;
        _batch[_batchCount++] = new BlockRequestPointer(request);
    }

    /// <summary>Submits the batch.</summary>
    public void Submit()
    {
        OutstandingCount += _batchCount;
        var count = _batchCount;
        _batchCount = 0;
        _reactor.Invoke(() => Channel.Submit(_batch.AsSpan(0, count)));
    }

    /// <summary>Submits without a closure, for tests that count allocations.</summary>
    public void SubmitRaw()
    {
        OutstandingCount += _batchCount;
        var count = _batchCount;
        _batchCount = 0;
        var previous = _reactor.Enter();
        Channel.Submit(_batch.AsSpan(0, count));
        _reactor.Leave(previous);
    }

    /// <summary>Turns the reactor until nothing is outstanding.</summary>
    public void Wait()
    {
        var end = Stopwatch.GetTimestamp() + (120 * Stopwatch.Frequency);
        while (OutstandingCount > 0)
        {
            var work = _reactor.Turn();
            foreach (var other in AlsoTurns)
            {
                work += other.Turn();
            }

            if (work == 0)
            {
                Thread.Yield();
            }

            Assert.True(Stopwatch.GetTimestamp() < end, $"{OutstandingCount} requests are not completed");
        }
    }

    /// <summary>Runs one request to its end.</summary>
    public BlockStatus Run(
        BlockOperation operation, ulong start = 0, ulong count = 0, byte* data = null, nuint length = 0, BlockRequestFlags flags = BlockRequestFlags.None,
        ReadOnlySpan<int> cuts = default)
    {
        Add(0, operation, start, count, data, length, flags, cuts);
        Submit();
        Wait();
        return _requests->Status;
    }

    /// <summary>Writes whole blocks.</summary>
    public BlockStatus Write(ulong start, ReadOnlySpan<byte> data, BlockRequestFlags flags = BlockRequestFlags.None)
    {
        fixed (byte* bytes = data)
        {
            return Run(BlockOperation.Write, start, (ulong)data.Length / Bdev.Info.BlockSizeBytes, bytes, (nuint)data.Length, flags);
        }
    }

    /// <summary>Reads whole blocks, which must succeed.</summary>
    public byte[] Read(ulong start, ulong count)
    {
        var data = new byte[count * Bdev.Info.BlockSizeBytes];
        data.AsSpan().Fill(0xA5);
        fixed (byte* bytes = data)
        {
            Assert.Equal(BlockStatus.Success, Run(BlockOperation.Read, start, count, bytes, (nuint)data.Length));
        }

        return data;
    }

    public void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests)
    {
        if (!_reactor.IsCurrent && !AllowsAnyThread)
        {
            throw new InvalidOperationException("a completion came off the reactor's thread");
        }

        foreach (var pointer in requests)
        {
            var request = pointer.Pointer;
            if (request < _requests || request >= _requests + QueueDepth || request->SubmitterContext != Outstanding)
            {
                throw new InvalidOperationException("a request was completed that is not outstanding");
            }

            if (request->Status > BlockStatus.ReservationConflict)
            {
                throw new InvalidOperationException("a request was completed without a status");
            }

            if (request->HostState != 0x5A || request->HostScratch[0] != 0x1122334455667788)
            {
                throw new InvalidOperationException("the bdev wrote what is the host's");
            }

            if (request->Status != BlockStatus.Miscompare && request->Information != 0)
            {
                throw new InvalidOperationException("Information is set without a miscompare");
            }

            request->SubmitterContext = Idle;
        }

        OutstandingCount -= requests.Length;
        CompletedCount += requests.Length;
    }

    /// <summary>For loops that submit without <see cref="ManualReactor.Invoke"/>.</summary>
    public bool AllowsAnyThread { get; set; }

    public void Dispose()
    {
        if (!_isDisposed)
        {
            _isDisposed = true;
            _reactor.Invoke(Channel.Dispose);
            _reactor.TurnUntilIdle();
            NativeMemory.Free(_requests);
            NativeMemory.Free(_segments);
        }
    }
}
