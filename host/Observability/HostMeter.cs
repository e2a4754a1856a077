using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Text.Json;
using Vhost.Abstractions;
using Vhost.Host.Bdevs;
using Vhost.Host.Cli;
using Vhost.Host.Reactors;
using Vhost.Host.Wiring;

namespace Vhost.Host.Observability;

/// <summary>
/// What can be measured of a host, as observable instruments of <c>System.Diagnostics.Metrics</c>. They are fed when somebody collects, from the counters that
/// reactors keep anyhow with plain stores: a request costs the same with and without them.
/// </summary>
internal sealed class HostMeter : IDisposable
{
    /// <summary>The meter's name.</summary>
    internal const string Name = "vhostd";

    // One collection asks every instrument; all of them read one snapshot.
    private static readonly TimeSpan SnapshotLife = TimeSpan.FromMilliseconds(100);

    private static readonly double[] Quantiles = [0.5, 0.9, 0.99, 0.999];

    private static readonly (BlockOperation Operation, string Name)[] Operations =
        [.. Enum.GetValues<BlockOperation>().Select(operation => (operation, JsonNamingPolicy.SnakeCaseLower.ConvertName(operation.ToString())))];

    private readonly Func<HostStatus> _getStatus;
    private readonly Meter _meter = new(Name, VersionCommand.Version);
    private readonly Lock _lock = new();
    private HostStatus? _status;
    private long _takenAt;

    /// <summary>Makes the instruments.</summary>
    /// <param name="getStatus">Takes a snapshot; any thread.</param>
    internal HostMeter(Func<HostStatus> getStatus)
    {
        _getStatus = getStatus;
        _meter.CreateObservableGauge("vhostd.healthy", () => HealthReport.Of(GetStatus()).IsHealthy ? 1 : 0, null, "1 if vhostd serves as it should.");

        Reactors("vhostd.reactor.time", "s", "Time of a reactor by what it did: busy, idle (spinning without work), asleep.", reactor =>
        [
            new(reactor.Statistics.Busy.TotalSeconds, [.. Tags(reactor), new("state", "busy")]),
            new((reactor.Statistics.Idle - reactor.Statistics.Asleep).TotalSeconds, [.. Tags(reactor), new("state", "idle")]),
            new(reactor.Statistics.Asleep.TotalSeconds, [.. Tags(reactor), new("state", "asleep")]),
        ]);
        Reactors("vhostd.reactor.turns", "{turn}", "Turns of a reactor's loop.", reactor => [new(reactor.Statistics.Turns, Tags(reactor))]);
        Reactors("vhostd.reactor.items", "{item}", "Items that a reactor's pollers handled.", reactor => [new(reactor.Statistics.Items, Tags(reactor))]);
        Reactors("vhostd.reactor.wakeups", "{wakeup}", "Pollers that a notification woke.", reactor => [new(reactor.Statistics.WakeUps, Tags(reactor))]);
        Reactors("vhostd.reactor.messages", "{message}", "Messages that a reactor ran.", reactor => [new(reactor.Statistics.Messages, Tags(reactor))]);
        Reactors("vhostd.reactor.quarantined", "{poller}", "Pollers that threw and were put out of service.", reactor => [new(reactor.Statistics.Quarantined, Tags(reactor))]);
        _meter.CreateObservableGauge(
            "vhostd.reactor.healthy",
            () => GetStatus().Reactors.Select(reactor => new Measurement<int>(reactor.Health.State == ReactorHealthState.Healthy ? 1 : 0, Tags(reactor))),
            null,
            "1 if the reactor turns or sleeps, 0 if it is stuck, failed or stopped.");

        Parts("bdev", status => status.Bdevs.Where(bdev => bdev.Info is not null || bdev.Statistics.Operations.Any(operation => operation.Count > 0))
            .Select(bdev => (bdev.Name, bdev.Statistics, bdev.Latencies)));
        Parts("controller", status => status.Controllers.Select(controller => (controller.Name, controller.Statistics ?? BdevStatistics.None, controller.Latencies)));
        _meter.CreateObservableGauge(
            "vhostd.bdev.up",
            () => GetStatus().Bdevs.Select(bdev => new Measurement<int>(bdev.State == BdevPortState.Present ? 1 : 0, new KeyValuePair<string, object?>("bdev", bdev.Name))),
            null,
            "1 if the bdev is there and in service.");
        _meter.CreateObservableGauge(
            "vhostd.bdev.size",
            () => GetStatus().Bdevs.Where(bdev => bdev.Info is not null)
                .Select(bdev => new Measurement<long>((long)(bdev.Info!.BlockCount * bdev.Info.BlockSizeBytes), new KeyValuePair<string, object?>("bdev", bdev.Name))),
            "By",
            "Size of the bdev.");
    }

    /// <inheritdoc/>
    public void Dispose() => _meter.Dispose();

    private static KeyValuePair<string, object?>[] Tags(ReactorStatus reactor) => [new("reactor", reactor.Id), new("cpu", reactor.CpuIndex)];

    private void Reactors(string name, string unit, string description, Func<ReactorStatus, IEnumerable<Measurement<double>>> measure) =>
        _meter.CreateObservableCounter(name, () => GetStatus().Reactors.SelectMany(measure), unit, description);

    private void Parts(string kind, Func<HostStatus, IEnumerable<(string Name, BdevStatistics Statistics, LatencyHistogram? Latencies)>> parts)
    {
        ByOperation("operations", "{operation}", "Requests that succeeded.", operation => operation.Count);
        ByOperation("io", "By", "Bytes of requests that succeeded.", operation => operation.Bytes);
        ByOperation("operation.time", "s", "Time of requests from submission to completion, added up: by the number of requests it is the mean latency.",
            operation => operation.LatencyTicks / (double)Stopwatch.Frequency);
        Counter("failures", "{operation}", "Requests that failed.", statistics => statistics.Failed);
        Counter("emulated", "{operation}", "Requests that the host did by other operations.", statistics => statistics.Emulated);
        Counter("stray_completions", "{completion}", "Completions that came late or twice and were dropped: a fault of the bdev's plugin.", statistics => statistics.StrayCompletions);
        _meter.CreateObservableGauge(
            $"vhostd.{kind}.outstanding",
            () => parts(GetStatus()).Select(part => new Measurement<int>(part.Statistics.Outstanding, new KeyValuePair<string, object?>(kind, part.Name))),
            "{operation}",
            "Requests under way.");
        _meter.CreateObservableGauge(
            $"vhostd.{kind}.latency",
            () => parts(GetStatus()).Where(part => part.Latencies is { Total: > 0 }).SelectMany(part => Quantiles.Select(quantile =>
                new Measurement<double>(part.Latencies!.GetPercentile(quantile).TotalSeconds, [new(kind, part.Name), new("quantile", quantile)]))),
            "s",
            "Latency below which that share of the requests was, since the histogram was switched on; nothing while it is off.");

        void ByOperation(string name, string unit, string description, Func<OperationStatistics, double> value) =>
            _meter.CreateObservableCounter(
                $"vhostd.{kind}.{name}",
                () => parts(GetStatus()).SelectMany(part => Operations.Select(operation => new Measurement<double>(
                    value(part.Statistics.Operations[(int)operation.Operation]),
                    [new(kind, part.Name), new("operation", operation.Name)]))),
                unit,
                description);

        void Counter(string name, string unit, string description, Func<BdevStatistics, double> value) =>
            _meter.CreateObservableCounter(
                $"vhostd.{kind}.{name}",
                () => parts(GetStatus()).Select(part => new Measurement<double>(value(part.Statistics), new KeyValuePair<string, object?>(kind, part.Name))),
                unit,
                description);
    }

    private HostStatus GetStatus()
    {
        lock (_lock)
        {
            if (_status is null || Stopwatch.GetElapsedTime(_takenAt) > SnapshotLife)
            {
                _status = _getStatus();
                _takenAt = Stopwatch.GetTimestamp();
            }

            return _status;
        }
    }
}
