using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.Testing;

/// <summary>
/// A bdev in memory behind a port that checks requests as the host does. It can complete at once or when the test says so, fail on
/// demand, disappear, come back, and change its size. Requests on one reactor at a time; the rest from any thread.
/// </summary>
public sealed unsafe class MemoryBdevPort : IBdevPort, IDisposable
{
    private readonly List<IBdevObserver> _observers = [];
    private readonly List<(MemoryBdevChannel Channel, nint Request)> _pending = [];
    private BdevInfo? _info;
    private byte* _data;
    private ulong _capacityBytes;

    public MemoryBdevPort(string name = "Memory0", uint blockSizeBytes = 512, ulong blockCount = 2048, BlockOperations operations = AllOperations)
    {
        Name = name;
        _capacityBytes = blockSizeBytes * blockCount;
        _data = (byte*)NativeMemory.AllocZeroed((nuint)_capacityBytes);
        _info = new BdevInfo
        {
            BlockSizeBytes = blockSizeBytes,
            PhysicalBlockSizeBytes = blockSizeBytes,
            BlockCount = blockCount,
            ProductName = "Memory disk",
            Operations = operations,
            HasVolatileWriteCache = true,
            HasForceUnitAccess = true,
            DiscardReadsZeroes = true,
        };
    }

    public const BlockOperations AllOperations = BlockOperations.Read | BlockOperations.Write | BlockOperations.Flush | BlockOperations.Discard
        | BlockOperations.WriteZeroes | BlockOperations.Compare | BlockOperations.CompareAndWrite;

    public string Name { get; }

    public BdevInfo? Info => Volatile.Read(ref _info);

    /// <summary>Whether requests wait for <see cref="CompletePending"/>.</summary>
    public bool IsDeferring { get; set; }

    /// <summary>Whether requests that wait go on waiting although they are aborted.</summary>
    public bool IgnoresAbort { get; set; }

    /// <summary>Whether requests do nothing and succeed.</summary>
    public bool IsNull { get; set; }

    /// <summary>Overrides the result of a request: a status, or null for what would happen anyway.</summary>
    public Func<BlockOperation, ulong, BlockStatus?>? Fault { get; set; }

    /// <summary>Completed requests, by operation.</summary>
    public long[] Counts { get; } = new long[8];

    /// <summary>Completed writes and write-zeroes with force unit access.</summary>
    public long ForceUnitAccessCount { get; private set; }

    /// <summary>Completed writes that were to be atomic.</summary>
    public long AtomicCount { get; private set; }

    /// <summary>Completed write-zeroes that may unmap.</summary>
    public long MayUnmapCount { get; private set; }

    /// <summary>Batches submitted.</summary>
    public long BatchCount { get; private set; }

    /// <summary>Open channels.</summary>
    public int ChannelCount { get; private set; }

    /// <summary>Requests that wait.</summary>
    public int PendingCount => _pending.Count;

    /// <summary>The content.</summary>
    public Span<byte> Data => new(_data, checked((int)(Info?.BlockCount * Info?.BlockSizeBytes ?? 0)));

    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions)
    {
        ChannelCount++;
        return new MemoryBdevChannel(this, completions);
    }

    public IDisposable Subscribe(IBdevObserver observer)
    {
        lock (_observers)
        {
            _observers.Add(observer);
        }

        return new Subscription(this, observer);
    }

    /// <summary>Changes what is there; null takes the bdev away. A greater size keeps the content.</summary>
    public void Change(BdevInfo? info, BdevChange change)
    {
        if (info is not null && info.BlockCount * info.BlockSizeBytes > _capacityBytes)
        {
            var length = info.BlockCount * info.BlockSizeBytes;
            _data = (byte*)NativeMemory.Realloc(_data, (nuint)length);
            NativeMemory.Clear(_data + _capacityBytes, (nuint)(length - _capacityBytes));
            _capacityBytes = length;
        }

        Volatile.Write(ref _info, info);
        IBdevObserver[] observers;
        lock (_observers)
        {
            observers = [.. _observers];
        }

        foreach (var observer in observers)
        {
            observer.OnBdevChanged(this, change);
        }
    }

    /// <summary>Completes what waits, oldest first. The reactor's thread.</summary>
    /// <param name="max">At most this many.</param>
    /// <param name="status">Completes them with this instead of doing them.</param>
    public void CompletePending(int max = int.MaxValue, BlockStatus? status = null)
    {
        var due = _pending.Take(max).ToArray();
        _pending.RemoveRange(0, due.Length);
        foreach (var (channel, request) in due)
        {
            channel.Complete((BlockRequest*)request, status);
        }
    }

    public void Dispose()
    {
        NativeMemory.Free(_data);
        _data = null;
    }

    internal void OnChannelClosed() => ChannelCount--;

    internal void OnBatch() => BatchCount++;

    internal void Defer(MemoryBdevChannel channel, BlockRequest* request) => _pending.Add((channel, (nint)request));

    internal bool TryAbort(MemoryBdevChannel channel, BlockRequest* request)
    {
        if (IgnoresAbort || !_pending.Remove((channel, (nint)request)))
        {
            return false;
        }

        channel.Complete(request, BlockStatus.Aborted);
        return true;
    }

    internal void Execute(BlockRequest* request)
    {
        request->Information = 0;
        if (IsNull)
        {
            Counts[(int)request->Operation]++;
            request->Status = BlockStatus.Success;
            return;
        }

        request->Status = Fault?.Invoke(request->Operation, request->StartBlock) ?? MemoryBdevExecution.Execute(Info, _data, request);
        Counts[(int)request->Operation]++;
        AtomicCount += (request->Flags & BlockRequestFlags.Atomic) != 0 ? 1 : 0;
        if ((request->Flags & BlockRequestFlags.ForceUnitAccess) != 0)
        {
            ForceUnitAccessCount++;
        }

        if ((request->Flags & BlockRequestFlags.MayUnmap) != 0)
        {
            MayUnmapCount++;
        }
    }

    private sealed class Subscription(MemoryBdevPort port, IBdevObserver observer) : IDisposable
    {
        public void Dispose()
        {
            lock (port._observers)
            {
                port._observers.Remove(observer);
            }
        }
    }
}
