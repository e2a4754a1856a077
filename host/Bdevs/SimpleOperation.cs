using Vhost.Abstractions;

namespace Vhost.Host.Bdevs;

/// <summary>
/// One call of a <see cref="SimpleBdev"/>'s method, on a buffer of the host. Belongs to its channel's reactor, but between being queued and
/// <see cref="Finish"/> to whoever runs it. It never sees the request's memory. Reused, unless it was given up while it ran.
/// </summary>
internal sealed class SimpleOperation(SimpleChannel channel) : IDisposable
{
    private CancellationTokenSource _cancellation = new();

    /// <summary>Index in the channel's table; a request refers to its operation by it.</summary>
    internal int Index { get; set; }

    internal BlockOperation Operation { get; set; }

    internal long OffsetBytes { get; set; }

    internal long LengthBytes { get; set; }

    /// <summary>The host's buffer, at least <see cref="LengthBytes"/> long; null for operations without data.</summary>
    internal byte[]? Buffer { get; set; }

    /// <summary>The request that this is a piece of, or 0 once nobody awaits the result.</summary>
    internal nint Request { get; set; }

    /// <summary>How much of the request was done by earlier pieces.</summary>
    internal long DoneBytes { get; set; }

    /// <summary>The result; set before the operation goes back to its channel.</summary>
    internal BlockStatus Status { get; private set; }

    internal bool IsCancelled => _cancellation.IsCancellationRequested;

    /// <inheritdoc/>
    public void Dispose() => _cancellation.Dispose();

    /// <summary>Calls the method.</summary>
    internal ValueTask Start(SimpleBdev bdev)
    {
        var token = _cancellation.Token;
        token.ThrowIfCancellationRequested();
        return Operation switch
        {
            BlockOperation.Read => bdev.ReadAsync(OffsetBytes, Buffer.AsMemory(0, (int)LengthBytes), token),
            BlockOperation.Write => bdev.WriteAsync(OffsetBytes, Buffer.AsMemory(0, (int)LengthBytes), token),
            BlockOperation.Flush => bdev.FlushAsync(token),
            BlockOperation.Discard => bdev.DiscardAsync(OffsetBytes, LengthBytes, token),
            _ => throw new NotSupportedException($"bdev {bdev.Name} cannot do {Operation}"),
        };
    }

    /// <summary>The method is done. Any thread; the operation belongs to its channel again afterwards.</summary>
    internal void Finish(BlockStatus status)
    {
        Status = status;
        channel.Return(this);
    }

    /// <summary>Asks the method to end. Callbacks that the plugin registered run on the thread pool, not here.</summary>
    internal void Cancel()
    {
        var cancellation = _cancellation;
        ThreadPool.UnsafeQueueUserWorkItem(
            static source =>
            {
                try
                {
                    source.Cancel();
                }
                catch (Exception exception) when (exception is ObjectDisposedException or AggregateException)
                {
                    // It ended in between, or a callback of the plugin failed: either way nobody awaits the result.
                }
            },
            cancellation,
            preferLocal: false);
    }

    /// <summary>Makes it fit for another request. A cancelled source is replaced.</summary>
    internal void Reset()
    {
        Request = 0;
        DoneBytes = 0;
        if (!_cancellation.TryReset())
        {
            _cancellation = new CancellationTokenSource();
        }
    }
}
