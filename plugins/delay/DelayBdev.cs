using Vhost.Abstractions;

namespace Vhost.Plugins.Delay;

/// <summary>Makes a bdev slow.</summary>
/// <param name="name">Its own name.</param>
/// <param name="below">The bdev below.</param>
/// <param name="options">Valid options.</param>
internal sealed class DelayBdev(string name, IBdevPort below, DelayOptions options) : IChannelBdev
{
    private BdevInfo? _last;

    /// <inheritdoc/>
    public string Name { get; } = name;

    /// <inheritdoc/>
    public BdevInfo Info => _last = (below.Info ?? _last ?? throw new InvalidOperationException($"bdev {below.Name} is not there")) with { ProductName = "Delay disk" };

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) => new DelayChannel(Name, below, reactor, completions, options);
}
