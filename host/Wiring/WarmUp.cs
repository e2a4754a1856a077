using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Abstractions;
using Vhost.Host.Bdevs;
using Vhost.Host.Observability;
using Vhost.Host.Reactors;

namespace Vhost.Host.Wiring;

/// <summary>
/// Runs the path between device types and bdevs often enough that the compiler takes it up, before a guest is let in. It uses a bdev of
/// its own that holds nothing and that no guest can name, so no data is touched.
/// </summary>
internal static class WarmUp
{
    // The compiler counts 30 calls before it considers a method.
    private const int Batches = 64;
    private const int BatchSize = 8;

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(1);

    /// <summary>Warms all reactors at a time. A failure is logged and delays nothing.</summary>
    internal static async Task RunAsync(IReadOnlyList<Reactor> reactors, ILogger logger)
    {
        var port = new BdevPort("warm-up", NullLogger.Instance);
        var bdev = new NothingBdev();
        var attachment = new BdevAttachment(bdev.Name, bdev, bdev, NullLogger.Instance);
        port.Attach(attachment);
        var work = Task.WhenAll(reactors.Select(reactor => reactor.InvokeAsync(() => RunOn(reactor, port))));
        try
        {
            await work.WaitAsync(Limit).ConfigureAwait(false);
            await port.DetachAsync(attachment, Limit).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            logger.LogWarning(HostEvents.WarmUpCutShort, "the warm-up did not end within {Seconds} s; first requests may meet cold code", Limit.TotalSeconds);
        }
    }

    // SAFETY: requests and segments are allocated here, and the bdev below completes them within Submit.
    private static unsafe void RunOn(Reactor reactor, BdevPort port)
    {
        var requests = (BlockRequest*)NativeMemory.AllocZeroed(BatchSize, (nuint)sizeof(BlockRequest));
        var segment = default(IoSegment);
        try
        {
            using var channel = port.OpenChannel(reactor, new Sink());
            Span<BlockRequestPointer> batch = stackalloc BlockRequestPointer[BatchSize];
            for (var round = 0; round < Batches; round++)
            {
                for (var i = 0; i < BatchSize; i++)
                {
                    var request = requests + i;
                    segment = new IoSegment((byte*)request, 512);
                    request->Operation = (round & 1) == 0 ? BlockOperation.Read : BlockOperation.Write;
                    request->BlockCount = 1;
                    request->SegmentCount = 1;
                    request->Segments = &segment;
                    batch[i] = new BlockRequestPointer(request);
                }

                channel.Submit(batch);
            }
        }
        finally
        {
            NativeMemory.Free(requests);
        }
    }

    private sealed class Sink : IBdevCompletions
    {
        public void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests)
        {
        }
    }

    /// <summary>Completes everything and touches nothing.</summary>
    private sealed class NothingBdev : IChannelBdev
    {
        public string Name => "warm-up";

        public BdevInfo Info { get; } = new()
        {
            BlockSizeBytes = 512,
            BlockCount = 1,
            ProductName = "Nothing",
            Operations = BlockOperations.Read | BlockOperations.Write,
        };

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
}
