using Vhost.Abstractions;

namespace Vhost.Plugins.Malloc;

/// <summary>A bdev in memory.</summary>
/// <param name="name">The bdev's name.</param>
/// <param name="options">Valid options.</param>
/// <param name="memory">The blocks; owned.</param>
internal sealed class MallocBdev(string name, MallocOptions options, BlockMemory memory) : IChannelBdev, IAdjustable, IDisposable
{
    private const uint MaxAtomicBytes = 1 << 20;

    private readonly string? _uuid = options.Uuid;
    private BdevInfo _info = new()
    {
        BlockSizeBytes = (uint)options.BlockSize,
        BlockCount = ((ulong)options.SizeMiB << 20) / (uint)options.BlockSize,
        ProductName = "Malloc disk",
        Operations = BlockOperations.Read | BlockOperations.Write | BlockOperations.Flush | BlockOperations.Discard
            | BlockOperations.WriteZeroes,
        HasForceUnitAccess = true, // memory is as stable as this medium gets
        DiscardReadsZeroes = true,
        ZeroingErases = true,
        AtomicWriteBlocks = MaxAtomicBytes / (uint)options.BlockSize, // a copy does not fail, and what ends it ends the blocks too
        Uuid = options.Uuid is null ? null : Guid.Parse(options.Uuid),
    };

    /// <inheritdoc/>
    public string Name { get; } = name;

    /// <inheritdoc/>
    public BdevInfo Info => Volatile.Read(ref _info);

    /// <summary>Takes another size: what is added is zero, what is cut off is lost.</summary>
    /// <param name="options">The changed options.</param>
    public bool TryAdjust(object options)
    {
        var changed = (MallocOptions)options;
        if ((uint)changed.BlockSize != _info.BlockSizeBytes || changed.Uuid != _uuid)
        {
            return false;
        }

        var length = (nuint)changed.SizeMiB << 20;
        memory.Resize(Name, length);
        Volatile.Write(ref _info, _info with { BlockCount = length / _info.BlockSizeBytes });
        return true;
    }

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) =>
        new MallocChannel(memory, Info.BlockSizeBytes, completions);

    /// <inheritdoc/>
    public void Dispose() => memory.Dispose();
}
