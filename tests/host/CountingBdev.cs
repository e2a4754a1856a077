using Vhost.Abstractions;

namespace Vhost.Host.Tests;

/// <summary>A bdev that completes everything at once and allocates nothing.</summary>
internal sealed class CountingBdev : IChannelBdev
{
    public string Name => "b";

    public BdevInfo Info { get; } = new() { BlockSizeBytes = 512, BlockCount = 100, ProductName = "Counting", Operations = BlockOperations.Read | BlockOperations.Write };

    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) => new Channel(completions);

    private sealed class Channel(IBdevCompletions completions) : IBdevChannel
    {
        public void Submit(ReadOnlySpan<BlockRequestPointer> requests)
        {
            foreach (var request in requests)
            {
                request.Value.Status = BlockStatus.Success;
            }

            completions.OnCompleted(requests);
        }

        public void Dispose()
        {
        }
    }
}
