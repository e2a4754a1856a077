using Vhost.Abstractions;

namespace Vhost.Host.Tests;

/// <summary>A channel-level bdev in memory that a test makes misbehave: it completes when told, late, twice, in any order, never, or throws.</summary>
internal sealed class FaultyBdev(string name, ulong blocks, BlockOperations operations) : IChannelBdev
{
    private BdevInfo? _info;

    public string Name => name;

    public BdevInfo Info
    {
        get => _info ??= new BdevInfo { BlockSizeBytes = 512, BlockCount = blocks, ProductName = "Faulty disk", Operations = operations };
        set => _info = value;
    }

    public byte[] Data { get; } = new byte[blocks * 512];

    /// <summary>Whether requests are done within Submit.</summary>
    public bool CompletesAtOnce { get; set; }

    public bool ThrowsOnSubmit { get; set; }

    public bool ThrowsOnOpen { get; set; }

    public int SubmitCalls { get; private set; }

    public int MaxSubmitDepth { get; private set; }

    public List<(BlockOperation Operation, BlockRequestFlags Flags, ulong Start, ulong Count)> Seen { get; } = [];

    public List<Channel> Channels { get; } = [];

    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions)
    {
        if (ThrowsOnOpen)
        {
            throw new InvalidOperationException("no channel today");
        }

        var channel = new Channel(this, completions);
        Channels.Add(channel);
        return channel;
    }

    internal sealed unsafe class Channel(FaultyBdev bdev, IBdevCompletions completions) : IBdevChannel
    {
        private int _depth;

        public List<BlockRequestPointer> Pending { get; } = [];

        public List<BlockRequestPointer> Aborts { get; } = [];

        public bool IsDisposed { get; private set; }

        public void Submit(ReadOnlySpan<BlockRequestPointer> requests)
        {
            Assert.False(IsDisposed, "submitted to a closed channel");
            bdev.SubmitCalls++;
            bdev.MaxSubmitDepth = Math.Max(bdev.MaxSubmitDepth, ++_depth);
            try
            {
                if (bdev.ThrowsOnSubmit)
                {
                    throw new InvalidOperationException("submit failed");
                }

                foreach (var request in requests)
                {
                    var value = request.Value;
                    bdev.Seen.Add((value.Operation, value.Flags, value.StartBlock, value.BlockCount));
                    Pending.Add(request);
                }

                if (bdev.CompletesAtOnce)
                {
                    CompleteAll();
                }
            }
            finally
            {
                _depth--;
            }
        }

        public void Abort(BlockRequestPointer request) => Aborts.Add(request);

        public void Dispose() => IsDisposed = true;

        public void CompleteAll()
        {
            BlockRequestPointer[] batch = [.. Pending];
            Pending.Clear();
            foreach (var request in batch)
            {
                Execute(request.Pointer);
            }

            completions.OnCompleted(batch);
        }

        public void Complete(int index, BlockStatus? status = null)
        {
            var request = Pending[index];
            Pending.RemoveAt(index);
            if (status is { } forced)
            {
                request.Pointer->Status = forced;
            }
            else
            {
                Execute(request.Pointer);
            }

            completions.OnCompleted([request]);
        }

        /// <summary>Completes something that was completed before, or that is somebody else's.</summary>
        public void CompleteAgain(BlockRequestPointer request) => completions.OnCompleted([request]);

        private void Execute(BlockRequest* request)
        {
            request->Status = BlockStatus.Success;
            if (request->Operation == BlockOperation.Flush)
            {
                return;
            }

            var offset = (int)request->StartBlock * 512;
            if (request->Operation == BlockOperation.WriteZeroes)
            {
                bdev.Data.AsSpan(offset, (int)request->BlockCount * 512).Clear();
                return;
            }

            for (var i = 0; i < request->SegmentCount; i++)
            {
                var segment = request->Segments[i];
                var memory = new Span<byte>(segment.Address, (int)segment.LengthBytes);
                var data = bdev.Data.AsSpan(offset, memory.Length);
                if (request->Operation == BlockOperation.Read)
                {
                    data.CopyTo(memory);
                }
                else
                {
                    memory.CopyTo(data);
                }

                offset += memory.Length;
            }
        }
    }
}
