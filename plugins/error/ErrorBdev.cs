using System.Globalization;
using Vhost.Abstractions;

namespace Vhost.Plugins.Error;

/// <summary>Disturbs requests of a bdev. The rules change while it runs: what a rule lets hang ends when the rule is gone.</summary>
/// <param name="name">Its own name.</param>
/// <param name="below">The bdev below.</param>
/// <param name="options">Valid options.</param>
internal sealed class ErrorBdev(string name, IBdevPort below, ErrorOptions options) : IChannelBdev, IAdjustable, IDetailSource
{
    private readonly int _seed = options.Seed;
    private readonly Lock _lock = new();
    private readonly List<ErrorChannel> _channels = [];
    private ErrorRule[] _rules = [.. options.Rules.Select(rule => new ErrorRule(rule))];
    private BdevInfo? _last;

    /// <inheritdoc/>
    public string Name { get; } = name;

    /// <inheritdoc/>
    public BdevInfo Info => _last = (below.Info ?? _last ?? throw new InvalidOperationException($"bdev {below.Name} is not there")) with { ProductName = "Error disk" };

    /// <summary>The rules that count now. Any thread.</summary>
    internal ErrorRule[] Rules => Volatile.Read(ref _rules);

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions)
    {
        var channel = new ErrorChannel(this, below, reactor, completions, _seed);
        lock (_lock)
        {
            _channels.Add(channel);
        }

        return channel;
    }

    /// <inheritdoc/>
    public bool TryAdjust(object options)
    {
        var changed = (ErrorOptions)options;
        if (changed.Bdev != below.Name || changed.Seed != _seed)
        {
            return false;
        }

        lock (_lock)
        {
            // What stays goes on counting.
            var former = Rules.ToList();
            Volatile.Write(ref _rules, [.. changed.Rules.Select(wanted =>
            {
                if (former.Find(rule => rule.Options.Says(wanted)) is not { } same)
                {
                    return new ErrorRule(wanted);
                }

                former.Remove(same);
                return same;
            })]);
            foreach (var channel in _channels)
            {
                channel.PostEndOrphans();
            }
        }

        return true;
    }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> GetDetails() => Rules
        .Select((rule, i) => (Key: $"disturbed_by_rule_{i}", rule.DisturbedCount))
        .ToDictionary(item => item.Key, item => item.DisturbedCount.ToString(CultureInfo.InvariantCulture));

    /// <summary>A channel is closed.</summary>
    internal void Remove(ErrorChannel channel)
    {
        lock (_lock)
        {
            _channels.Remove(channel);
        }
    }
}
