using System.Collections.Concurrent;
using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Host.Observability;

namespace Vhost.Host.Bdevs;

/// <summary>
/// Makes a channel-level bdev of a <see cref="SimpleBdev"/>: its methods run on threads of the adapter's own, never on a reactor and never on the
/// thread pool, so that one that blocks holds up nothing but its own bdev. At most <see cref="SimpleBdev.MaxConcurrency"/> run at a time.
/// </summary>
internal sealed class SimpleBdevAdapter : IChannelBdev
{
    private const BlockOperations PossibleOperations = BlockOperations.Read | BlockOperations.Write | BlockOperations.Flush | BlockOperations.Discard;

    private static readonly TimeSpan IdleThreadLife = TimeSpan.FromSeconds(10);

    private readonly SimpleBdev _bdev;
    private readonly ILogger _logger;
    private readonly ConcurrentQueue<SimpleOperation> _queue = new();
    private readonly SemaphoreSlim _queued = new(0);
    private readonly SemaphoreSlim _permits;
    private readonly CancellationTokenSource _closing = new();
    private readonly TaskCompletionSource _changesEnded = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _changeCount;
    private int _threadCount;
    private int _idleThreadCount;
    private long _failures;
    private long _lastReport;

    internal SimpleBdevAdapter(SimpleBdev bdev, ILogger logger)
    {
        _bdev = bdev;
        _logger = logger;
        MaxConcurrency = Math.Clamp(bdev.MaxConcurrency, 1, 1024);
        _permits = new SemaphoreSlim(MaxConcurrency);
        StartThread();
    }

    /// <inheritdoc/>
    public string Name => _bdev.Name;

    /// <inheritdoc/>
    public BdevInfo Info
    {
        get
        {
            var info = _bdev.Info;
            // FlushAsync is always there; force unit access never is: the host flushes. No write is atomic, since one may be done in pieces, and be cancelled in the middle.
            return info with { Operations = (info.Operations & PossibleOperations) | BlockOperations.Flush, HasForceUnitAccess = false, AtomicWriteBlocks = 0 };
        }
    }

    /// <summary>How many requests run at a time.</summary>
    internal int MaxConcurrency { get; }

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) => new SimpleChannel(this, reactor, completions);

    /// <summary>How many writes and discards its methods are doing now. Any thread.</summary>
    internal int ChangeCount => Volatile.Read(ref _changeCount);

    /// <summary>Completes when it is closed and no write or discard is in one of its methods any more: from then on nothing changes its storage.</summary>
    internal Task ChangesEnded => _changesEnded.Task;

    /// <summary>Nobody uses the bdev any more: what still runs is cancelled, nothing else begins, and its threads end when they return.</summary>
    internal void Close()
    {
        _closing.Cancel();
        if (Volatile.Read(ref _changeCount) == 0)
        {
            _changesEnded.TrySetResult();
        }
    }

    /// <summary>Runs operations, each once. Reactor threads; one call a batch.</summary>
    internal void Enqueue(ReadOnlySpan<SimpleOperation> operations)
    {
        foreach (var operation in operations)
        {
            _queue.Enqueue(operation);
        }

        _queued.Release(operations.Length);
    }

    private void StartThread()
    {
        Interlocked.Increment(ref _threadCount);
        new Thread(Work) { Name = $"bdev {_bdev.Name}", IsBackground = true }.Start();
    }

    private void Work()
    {
        try
        {
            while (Take() is { } operation)
            {
                // Somebody has to be there for the next operation should this one hang.
                if (Volatile.Read(ref _idleThreadCount) == 0 && Volatile.Read(ref _threadCount) <= MaxConcurrency)
                {
                    StartThread();
                }

                Run(operation);
            }
        }
        catch (OperationCanceledException)
        {
            // Closed.
        }
        finally
        {
            Interlocked.Decrement(ref _threadCount);
        }
    }

    /// <summary>Waits for an operation and for the permit to run it; null when this thread is not needed any more.</summary>
    private SimpleOperation? Take()
    {
        Interlocked.Increment(ref _idleThreadCount);
        try
        {
            while (!_queued.Wait(IdleThreadLife, _closing.Token))
            {
                if (Volatile.Read(ref _idleThreadCount) > 1)
                {
                    return null;
                }
            }

            _permits.Wait(_closing.Token);
        }
        finally
        {
            Interlocked.Decrement(ref _idleThreadCount);
        }

        return _queue.TryDequeue(out var operation) ? operation : throw new InvalidOperationException("the semaphore counted more operations than there are");
    }

    private void Run(SimpleOperation operation)
    {
        ValueTask task;
        if (IsChange(operation) && Interlocked.Increment(ref _changeCount) > 0 && _closing.IsCancellationRequested)
        {
            // Counted before the look, so that whoever closes either finds it or keeps it from beginning.
            Finish(operation, BlockStatus.Aborted);
            return;
        }

        try
        {
            task = operation.Start(_bdev);
            if (task.IsCompleted)
            {
                task.GetAwaiter().GetResult();
                Finish(operation, BlockStatus.Success);
                return;
            }
        }
        catch (Exception exception)
        {
            Finish(operation, ToStatus(operation, exception));
            return;
        }

        _ = AwaitAsync(operation, task);
    }

    private async Task AwaitAsync(SimpleOperation operation, ValueTask task)
    {
        var status = BlockStatus.Success;
        try
        {
            await task.ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            status = ToStatus(operation, exception);
        }

        Finish(operation, status);
    }

    private void Finish(SimpleOperation operation, BlockStatus status)
    {
        if (IsChange(operation) && Interlocked.Decrement(ref _changeCount) == 0 && _closing.IsCancellationRequested)
        {
            _changesEnded.TrySetResult();
        }

        _permits.Release();
        operation.Finish(status);
    }

    private static bool IsChange(SimpleOperation operation) => operation.Operation is BlockOperation.Write or BlockOperation.Discard;

    private BlockStatus ToStatus(SimpleOperation operation, Exception exception)
    {
        if (exception is OperationCanceledException && operation.IsCancelled)
        {
            return BlockStatus.Aborted;
        }

        var count = Interlocked.Increment(ref _failures);
        var now = Stopwatch.GetTimestamp();
        var last = Volatile.Read(ref _lastReport);
        if (count == 1 || (now - last > 10 * Stopwatch.Frequency && Interlocked.CompareExchange(ref _lastReport, now, last) == last))
        {
            Volatile.Write(ref _lastReport, now);
            _logger.LogError(
                HostEvents.SimpleBdevFailed,
                exception,
                "bdev {Bdev}: {Operation} at byte {Offset}, length {Length}, failed ({Count} failures by now)",
                _bdev.Name,
                operation.Operation,
                operation.OffsetBytes,
                operation.LengthBytes,
                count);
        }

        return exception is NotSupportedException ? BlockStatus.Unsupported : BlockStatus.IoError;
    }
}
