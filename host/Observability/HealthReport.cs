using System.Text.Json.Nodes;
using Vhost.Host.Bdevs;
using Vhost.Host.Reactors;
using Vhost.Host.Wiring;

namespace Vhost.Host.Observability;

/// <summary>Whether a host serves as it should.</summary>
/// <param name="IsReady">Whether all parts have started and none is being stopped.</param>
/// <param name="Problems">What is wrong, for people, with what to do; empty if nothing is.</param>
internal sealed record HealthReport(bool IsReady, IReadOnlyList<string> Problems)
{
    /// <summary>Whether nothing is wrong.</summary>
    internal bool IsHealthy => IsReady && Problems.Count == 0;

    /// <summary>Judges a snapshot.</summary>
    /// <param name="status">The snapshot.</param>
    internal static HealthReport Of(HostStatus status)
    {
        var problems = new List<string>();
        foreach (var reactor in status.Reactors)
        {
            switch (reactor.Health.State)
            {
                case ReactorHealthState.Stuck:
                    problems.Add(FormattableString.Invariant(
                        $"reactor {reactor.Id} (CPU {reactor.CpuIndex}) has not returned from {reactor.Health.Culprit} for {reactor.Health.Since.TotalSeconds:0.0} s: the plugin behind it blocks or loops"));
                    break;
                case ReactorHealthState.Failed:
                    problems.Add($"reactor {reactor.Id} (CPU {reactor.CpuIndex}) has failed, and its queues stand still: restart vhostd");
                    break;
                case ReactorHealthState.Stopped when status.State == HostState.Running:
                    problems.Add($"reactor {reactor.Id} (CPU {reactor.CpuIndex}) has stopped");
                    break;
                default:
                    break;
            }

            if (reactor.Statistics.Quarantined > 0)
            {
                problems.Add($"reactor {reactor.Id} (CPU {reactor.CpuIndex}): {reactor.Statistics.Quarantined} pollers threw and are out of service; the log names them");
            }
        }

        var used = status.Controllers.SelectMany(controller => controller.Bdevs).Select(reference => reference.BdevName).ToHashSet(StringComparer.Ordinal);
        foreach (var bdev in status.Bdevs)
        {
            if (bdev.State == BdevPortState.Quarantined)
            {
                problems.Add($"bdev {bdev.Name} broke its contract and is out of service; the log says how");
            }
            else if (bdev.State == BdevPortState.Absent && used.Contains(bdev.Name))
            {
                problems.Add($"bdev {bdev.Name} is not there, and a controller uses it: its device was removed, or has not been found yet");
            }

            if (bdev.Info?.Warning is { } warning)
            {
                problems.Add($"bdev {bdev.Name} warns: {warning}");
            }
        }

        return new HealthReport(status.State == HostState.Running, problems);
    }

    /// <summary>As JSON: <c>healthy</c>, <c>ready</c>, <c>problems</c>.</summary>
    internal JsonObject ToJson() => new()
    {
        ["healthy"] = IsHealthy,
        ["ready"] = IsReady,
        ["problems"] = new JsonArray([.. Problems.Select(problem => JsonValue.Create(problem))]),
    };
}
