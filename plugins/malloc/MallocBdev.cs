using Vhost.Abstractions;

namespace Vhost.Plugins.Malloc;

/// <summary>A bdev in memory.</summary>
/// <param name="name">The bdev's name.</param>
/// <param name="options">Valid options.</param>
/// <param name="memory">The blocks; owned.</param>
internal sealed class MallocBdev(string name, MallocOptions options, BlockMemory memory) : IChannelBdev, IDisposable
{
    /// <inheritdoc/>
    public string Name { get; } = name;

    /// <inheritdoc/>
    public BdevInfo Info { get; } = new()
    {
        BlockSizeBytes = (uint)options.BlockSize,
        BlockCount = ((ulong)options.SizeMiB << 20) / (uint)options.BlockSize,
        ProductName = "Malloc disk",
        Operations = BlockOperations.Read | BlockOperations.Write | BlockOperations.Flush | BlockOperations.Discard
            | BlockOperations.WriteZeroes,
        HasForceUnitAccess = true, // memory is as stable as this medium gets
        DiscardReadsZeroes = true,
        ZeroingErases = true,
        Uuid = options.Uuid is null ? null : Guid.Parse(options.Uuid),
    };

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) =>
        new MallocChannel(memory, Info.BlockSizeBytes, completions);

    /// <inheritdoc/>
    public void Dispose() => memory.Dispose();
}
