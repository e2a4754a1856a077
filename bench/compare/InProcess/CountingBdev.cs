using Vhost.Abstractions;

namespace Vhost.Bench;

/// <summary>Stands between the host and a bdev and counts the calls in both directions. Each channel counts for itself, on its reactor.</summary>
/// <param name="inner">The bdev.</param>
internal sealed class CountingBdev(IChannelBdev inner) : IChannelBdev
{
    private readonly List<Channel> _channels = [];

    /// <inheritdoc/>
    public string Name => inner.Name;

    /// <inheritdoc/>
    public BdevInfo Info => inner.Info;

    /// <summary>Calls so far.</summary>
    public long CallCount
    {
        get
        {
            lock (_channels)
            {
                return _channels.Sum(channel => channel.CallCount);
            }
        }
    }

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions)
    {
        var channel = new Channel(completions);
        channel.Open(inner, reactor);
        lock (_channels)
        {
            _channels.Add(channel);
        }

        return channel;
    }

    private sealed class Channel(IBdevCompletions completions) : IBdevChannel, IBdevCompletions
    {
        private IBdevChannel? _inner;
        private long _callCount;

        public long CallCount => Volatile.Read(ref _callCount);

        public void Open(IChannelBdev bdev, IReactor reactor) => _inner = bdev.OpenChannel(reactor, this);

        public void Submit(ReadOnlySpan<BlockRequestPointer> requests)
        {
            _callCount++;
            _inner!.Submit(requests);
        }

        public void Abort(BlockRequestPointer request)
        {
            _callCount++;
            _inner!.Abort(request);
        }

        public void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests)
        {
            _callCount++;
            completions.OnCompleted(requests);
        }

        public void Dispose() => _inner!.Dispose();
    }
}
