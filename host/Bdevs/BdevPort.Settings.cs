using System.Diagnostics;
using Vhost.Abstractions;

namespace Vhost.Host.Bdevs;

/// <content>What can be set while it runs, and statistics that can be set back.</content>
internal sealed partial class BdevPort
{
    private volatile PortSettings _settings = PortSettings.Default;
    private volatile bool _isWriteProtected;
    private BdevStatistics? _statisticsBase;
    private Dictionary<PortChannel, BdevStatistics> _channelBases = [];

    /// <summary>Read once a batch.</summary>
    internal PortSettings Settings => _settings;

    /// <summary>How often a client wants the queue depth sampled; 0 for not. It is counted all the time.</summary>
    internal ulong QueueDepthPeriodMicroseconds { get; set; }

    /// <summary>The limits.</summary>
    internal QosLimits Qos => _settings.Qos?.Limits ?? QosLimits.None;

    /// <summary>Sets the limits. Each channel follows within a millisecond or with its next batch.</summary>
    /// <param name="limits">The limits.</param>
    internal void SetQos(QosLimits limits)
    {
        lock (_lock)
        {
            _settings = _settings with { Qos = limits.IsNone ? null : new QosLimiter(limits, Stopwatch.Frequency) };
        }
    }

    /// <summary>Whether writes are refused, whatever the bdev itself could do.</summary>
    internal bool IsWriteProtected => _isWriteProtected;

    /// <summary>Refuses writes from now on, or does not any more. Users are told.</summary>
    /// <param name="isProtected">Whether.</param>
    internal void SetWriteProtection(bool isProtected)
    {
        if (_isWriteProtected == isProtected)
        {
            return;
        }

        _isWriteProtected = isProtected;
        if (_attachment is { } attachment)
        {
            attachment.SetWriteProtection(isProtected);
            Notify(BdevChange.Changed);
        }
    }

    /// <summary>What was done since the last <see cref="ResetStatistics"/>.</summary>
    internal BdevStatistics GetStatisticsSinceReset()
    {
        lock (_lock)
        {
            return WithExtremes(Subtract(Channels.GetStatistics(), _statisticsBase), Channels.GetChannels());
        }
    }

    /// <summary>The same for each open channel by itself, with its reactor.</summary>
    internal IReadOnlyList<(IReactor Reactor, BdevStatistics Statistics)> GetStatisticsByChannel()
    {
        lock (_lock)
        {
            return [.. Channels.GetChannels().Select(channel => (channel.Reactor, WithExtremes(Subtract(Read(channel), _channelBases.GetValueOrDefault(channel)), [channel])))];
        }
    }

    /// <summary>Counts anew for <see cref="GetStatisticsSinceReset"/>; <see cref="GetStatistics"/> goes on.</summary>
    /// <param name="extremesOnly">Only the longest and shortest latencies.</param>
    internal void ResetStatistics(bool extremesOnly)
    {
        lock (_lock)
        {
            _settings = _settings with { ExtremesVersion = _settings.ExtremesVersion + 1 };
            if (!extremesOnly)
            {
                _statisticsBase = Channels.GetStatistics();
                _channelBases = Channels.GetChannels().ToDictionary(channel => channel, Read);
            }
        }
    }

    /// <summary>Counts failures anew, as <see cref="ResetStatistics"/> does everything.</summary>
    internal void ResetFailures()
    {
        lock (_lock)
        {
            var now = Channels.GetStatistics();
            _statisticsBase = (_statisticsBase ?? BdevStatistics.None) with { Failed = now.Failed, FailedByStatus = now.FailedByStatus };
        }
    }

    private static BdevStatistics Read(PortChannel channel)
    {
        var sum = new StatisticsSum();
        sum.Add(ref channel.Counters);
        sum.Outstanding = Volatile.Read(ref channel.Counters.Outstanding);
        return sum.ToStatistics();
    }

    private static BdevStatistics Subtract(BdevStatistics now, BdevStatistics? before) => before is null ? now : now with
    {
        Operations = [.. now.Operations.Zip(before.Operations, (later, earlier) => later with
        {
            Count = later.Count - earlier.Count,
            Bytes = later.Bytes - earlier.Bytes,
            LatencyTicks = later.LatencyTicks - earlier.LatencyTicks,
        })],
        Failed = now.Failed - before.Failed,
        Emulated = now.Emulated - before.Emulated,
        StrayCompletions = now.StrayCompletions - before.StrayCompletions,
        FailedByStatus = [.. now.FailedByStatus.Zip(before.FailedByStatus, (later, earlier) => later - earlier)],
    };

    /// <summary>The longest and shortest latencies of channels that have followed the last reset; until then theirs are of before it.</summary>
    private BdevStatistics WithExtremes(BdevStatistics statistics, IReadOnlyList<PortChannel> channels)
    {
        var version = _settings.ExtremesVersion;
        if (version == 0)
        {
            return statistics;
        }

        var followers = new StatisticsSum();
        foreach (var channel in channels.Where(channel => channel.Settings.ExtremesVersion == version))
        {
            followers.Add(ref channel.Counters);
        }

        return statistics with
        {
            Operations = [.. statistics.Operations.Zip(followers.ToStatistics().Operations, (sum, extremes) => sum with
            {
                MaxLatencyTicks = extremes.MaxLatencyTicks,
                MinLatencyTicks = extremes.MinLatencyTicks,
            })],
        };
    }
}
