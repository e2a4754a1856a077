using Vhost.Abstractions;

namespace Vhost.Plugins.Delay;

/// <summary>Makes a bdev slow.</summary>
/// <param name="name">Its own name.</param>
/// <param name="below">The bdev below.</param>
/// <param name="options">Valid options.</param>
internal sealed class DelayBdev(string name, IBdevPort below, DelayOptions options) : IChannelBdev, IAdjustable
{
    private readonly int _seed = options.Seed;
    private DelayTimes _times = new(options);
    private BdevInfo? _last;

    /// <inheritdoc/>
    public string Name { get; } = name;

    /// <inheritdoc/>
    public BdevInfo Info => _last = (below.Info ?? _last ?? throw new InvalidOperationException($"bdev {below.Name} is not there")) with { ProductName = "Delay disk" };

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) => new DelayChannel(this, below, reactor, completions, _seed);

    /// <summary>How long results are kept from now on. Any thread.</summary>
    internal DelayTimes Times => Volatile.Read(ref _times);

    /// <inheritdoc/>
    public bool TryAdjust(object options)
    {
        var changed = (DelayOptions)options;
        if (changed.Bdev != below.Name || changed.Seed != _seed)
        {
            return false;
        }

        Volatile.Write(ref _times, new DelayTimes(changed));
        return true;
    }
}
