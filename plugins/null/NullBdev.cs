using Vhost.Abstractions;

namespace Vhost.Plugins.Null;

/// <summary>
/// A bdev that stores nothing: it shows what everything around a bdev costs. Each request succeeds at once. Reads leave the buffer as
/// it was, and compares find no difference: the host must not emulate them, or a read into a buffer of its own would be compared.
/// </summary>
/// <param name="name">The bdev's name.</param>
/// <param name="options">Valid options.</param>
internal sealed class NullBdev(string name, NullOptions options) : IChannelBdev, IAdjustable
{
    private readonly string? _uuid = options.Uuid;
    private BdevInfo _info = new()
    {
        BlockSizeBytes = (uint)options.BlockSize,
        BlockCount = CountBlocks(options),
        ProductName = "Null disk",
        Uuid = options.Uuid is null ? null : Guid.Parse(options.Uuid),
        Operations = BlockOperations.Read | BlockOperations.Write | BlockOperations.Flush | BlockOperations.Discard
            | BlockOperations.WriteZeroes | BlockOperations.Compare | BlockOperations.CompareAndWrite,
        HasForceUnitAccess = true,
    };

    /// <inheritdoc/>
    public string Name { get; } = name;

    /// <inheritdoc/>
    public BdevInfo Info => Volatile.Read(ref _info);

    /// <inheritdoc/>
    public bool TryAdjust(object options)
    {
        var changed = (NullOptions)options;
        if ((uint)changed.BlockSize != _info.BlockSizeBytes || changed.Uuid != _uuid)
        {
            return false;
        }

        Volatile.Write(ref _info, _info with { BlockCount = CountBlocks(changed) });
        return true;
    }

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) => new NullChannel(completions);

    private static ulong CountBlocks(NullOptions options) => ((ulong)options.SizeMiB << 20) / (uint)options.BlockSize;
}
