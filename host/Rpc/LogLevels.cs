using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace Vhost.Host.Rpc;

/// <summary>How much the process logs, changed while it runs. Any thread.</summary>
internal sealed class LogLevels
{
    private static readonly (string Name, LogLevel Level)[] Names =
    [
        ("ERROR", LogLevel.Error),
        ("WARNING", LogLevel.Warning),
        ("NOTICE", LogLevel.Information),
        ("INFO", LogLevel.Information),
        ("DEBUG", LogLevel.Debug),
    ];

    private readonly ConcurrentDictionary<string, bool> _flags = new(
        new[] { "bdev", "bdevs", "controller", "memory", "reactors", "rpc", "transport", "wiring" }.Select(flag => KeyValuePair.Create(flag, false)),
        StringComparer.Ordinal);

    private volatile string? _name;

    /// <summary>That of the process.</summary>
    internal static LogLevels OfProcess { get; } = new();

    /// <summary>SPDK's names of levels.</summary>
    internal static IEnumerable<string> LevelNames => Names.Select(level => level.Name);

    /// <summary>The level that the process was started with.</summary>
    internal LogLevel StartLevel { get; set; } = LogLevel.Information;

    /// <summary>The name of the level.</summary>
    internal string Name => _name ?? (StartLevel switch
    {
        LogLevel.Trace or LogLevel.Debug => "DEBUG",
        LogLevel.Information => "INFO",
        LogLevel.Warning => "WARNING",
        _ => "ERROR",
    });

    /// <summary>Which parts log everything.</summary>
    internal IEnumerable<KeyValuePair<string, bool>> Flags => _flags.OrderBy(flag => flag.Key, StringComparer.Ordinal);

    /// <summary>Whether a message is written.</summary>
    /// <param name="category">Who logs: vhostd.bdev.Malloc0.</param>
    /// <param name="level">Its level.</param>
    internal bool IsEnabled(string? category, LogLevel level)
    {
        var least = _name is { } name ? Names.First(known => known.Name == name).Level : StartLevel;
        if (category?.StartsWith("Microsoft", StringComparison.Ordinal) == true)
        {
            return level >= LogLevel.Warning && level >= least;
        }

        return level >= least || (level >= LogLevel.Debug && category is not null && IsFlagged(category));
    }

    /// <summary>Sets the level.</summary>
    /// <param name="name">One of <see cref="LevelNames"/>, in any case.</param>
    /// <returns>False if it is none.</returns>
    internal bool TrySet(string name)
    {
        var upper = name.ToUpperInvariant();
        if (!LevelNames.Contains(upper))
        {
            return false;
        }

        _name = upper;
        return true;
    }

    /// <summary>Lets a part log everything, or not any more.</summary>
    /// <param name="flag">The part, or all.</param>
    /// <param name="isSet">Whether.</param>
    /// <returns>False if there is no such part.</returns>
    internal bool TrySetFlag(string flag, bool isSet)
    {
        if (flag == "all")
        {
            foreach (var known in _flags.Keys)
            {
                _flags[known] = isSet;
            }

            return true;
        }

        return _flags.TryGetValue(flag, out var before) && (before == isSet || _flags.TryUpdate(flag, isSet, before));
    }

    private bool IsFlagged(string category)
    {
        var parts = category.Split('.', 3);
        return parts.Length > 1 && _flags.GetValueOrDefault(parts[1]);
    }
}
