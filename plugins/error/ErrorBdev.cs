using System.Globalization;
using Vhost.Abstractions;

namespace Vhost.Plugins.Error;

/// <summary>Disturbs requests of a bdev.</summary>
/// <param name="name">Its own name.</param>
/// <param name="below">The bdev below.</param>
/// <param name="options">Valid options.</param>
internal sealed class ErrorBdev(string name, IBdevPort below, ErrorOptions options) : IChannelBdev, IDetailSource
{
    private readonly ErrorRule[] _rules = [.. options.Rules.Select(rule => new ErrorRule(rule))];
    private BdevInfo? _last;

    /// <inheritdoc/>
    public string Name { get; } = name;

    /// <inheritdoc/>
    public BdevInfo Info => _last = (below.Info ?? _last ?? throw new InvalidOperationException($"bdev {below.Name} is not there")) with { ProductName = "Error disk" };

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) => new ErrorChannel(below, reactor, completions, _rules, options.Seed);

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> GetDetails() => _rules
        .Select((rule, i) => (Key: $"disturbed_by_rule_{i}", rule.DisturbedCount))
        .ToDictionary(item => item.Key, item => item.DisturbedCount.ToString(CultureInfo.InvariantCulture));
}
