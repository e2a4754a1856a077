using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.Host.Tests;

/// <summary>Requests in native memory, each with a buffer that is cut into segments at odd places, and a count of its completions.</summary>
internal sealed unsafe class RequestArena : IBdevCompletions, IDisposable
{
    private readonly BlockRequest* _requests;
    private readonly IoSegment* _segments;
    private readonly byte* _buffers;
    private readonly int _bufferBytes;
    private readonly object _lock = new();

    public RequestArena(int count, int bufferBytes = 16 * 1024)
    {
        Count = count;
        _bufferBytes = bufferBytes;
        _requests = (BlockRequest*)NativeMemory.AllocZeroed((nuint)count, (nuint)sizeof(BlockRequest));
        _segments = (IoSegment*)NativeMemory.AllocZeroed((nuint)count * 3, (nuint)sizeof(IoSegment));
        _buffers = (byte*)NativeMemory.AllocZeroed((nuint)count, (nuint)bufferBytes);
        Completions = new int[count];
        Submissions = new int[count];
    }

    public int Count { get; }

    /// <summary>How often each request was completed; what is completed more often than submitted is the fault that tests look for.</summary>
    public int[] Completions { get; }

    public int[] Submissions { get; }

    public int MaxBatch { get; private set; }

    /// <summary>Runs in each completion callback.</summary>
    public Action<int>? OnEach { get; set; }

    public BlockRequestPointer this[int index] => new(_requests + index);

    public bool IsPending(int index)
    {
        lock (_lock)
        {
            return Submissions[index] != Completions[index];
        }
    }

    public Span<byte> GetBuffer(int index) => new(_buffers + ((nint)index * _bufferBytes), _bufferBytes);

    public BlockStatus GetStatus(int index) => _requests[index].Status;

    public int IndexOf(BlockRequestPointer request) => (int)(request.Pointer - _requests);

    /// <summary>Fills a request in; the data lies in up to three segments of odd lengths.</summary>
    public BlockRequestPointer Prepare(int index, BlockOperation operation, ulong start, ulong count, BlockRequestFlags flags = BlockRequestFlags.None, long? dataBytes = null)
    {
        var request = _requests + index;
        request->Operation = operation;
        request->Flags = flags;
        request->StartBlock = start;
        request->BlockCount = count;
        var hasData = operation is BlockOperation.Read or BlockOperation.Write or BlockOperation.Compare or BlockOperation.CompareAndWrite;
        var length = (nuint)(dataBytes ?? (hasData ? (long)count * 512 * (operation == BlockOperation.CompareAndWrite ? 2 : 1) : 0));
        var segments = _segments + (index * 3);
        var buffer = _buffers + ((nint)index * _bufferBytes);
        var first = length > 7 ? 7 : length;
        var second = length > 700 ? 600 : (nuint)0;
        segments[0] = new IoSegment(buffer, first);
        segments[1] = new IoSegment(buffer + first, second);
        segments[2] = new IoSegment(buffer + first + second, length - first - second);
        request->Segments = segments;
        request->SegmentCount = length == 0 ? 0 : 3;
        return new BlockRequestPointer(request);
    }

    public void Submit(IBdevChannel channel, params int[] indexes)
    {
        Span<BlockRequestPointer> batch = stackalloc BlockRequestPointer[indexes.Length];
        for (var i = 0; i < indexes.Length; i++)
        {
            batch[i] = this[indexes[i]];
            lock (_lock)
            {
                Submissions[indexes[i]]++;
            }
        }

        channel.Submit(batch);
    }

    public void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests)
    {
        MaxBatch = Math.Max(MaxBatch, requests.Length);
        foreach (var request in requests)
        {
            var index = IndexOf(request);
            lock (_lock)
            {
                Completions[index]++;
            }

            OnEach?.Invoke(index);
        }
    }

    public void Dispose()
    {
        NativeMemory.Free(_requests);
        NativeMemory.Free(_segments);
        NativeMemory.Free(_buffers);
    }
}
