using Vhost.Abstractions;
using Vhost.Host.Bdevs;

namespace Vhost.Host.Wiring;

/// <content>What can be seen of the graph, and what is counted.</content>
public sealed partial class VhostHost
{
    /// <summary>A snapshot of the graph. Any thread.</summary>
    public HostStatus GetStatus()
    {
        lock (_listLock)
        {
            var bdevs = _parts?.Bdevs;
            return new HostStatus(
                _state,
                [.. _reactors.Select(reactor => new ReactorStatus(reactor.Id, reactor.CpuIndex, reactor.Health, reactor.GetStatistics()))],
                [.. _sources.Select(source => new BdevSourceStatus(source.Bound.Name, source.Bound.TypeName, source.Bound.Declaration.PublishedNames))],
                bdevs is null ? [] : [.. bdevs.GetPorts().Select(port => GetStatus(port, bdevs))],
                [.. _controllers.Select(controller => controller.GetStatus())]);
        }
    }

    /// <summary>Begins to count a bdev's latencies, from zero, or ends it. Requests do not wait for it.</summary>
    /// <param name="bdevName">The bdev.</param>
    /// <param name="settings">How, or null for not.</param>
    /// <returns>False if there is no such bdev.</returns>
    public bool SetBdevHistogram(string bdevName, HistogramSettings? settings)
    {
        if (FindPort(bdevName) is not { } port)
        {
            return false;
        }

        port.Channels.SetHistogram(settings);
        return true;
    }

    /// <summary>Begins to count a controller's latencies, from zero, or ends it. Requests do not wait for it.</summary>
    /// <param name="controllerName">The controller.</param>
    /// <param name="settings">How, or null for not.</param>
    /// <returns>False if there is no such controller.</returns>
    public bool SetControllerHistogram(string controllerName, HistogramSettings? settings)
    {
        lock (_listLock)
        {
            var controller = _controllers.Find(known => known.Bound.Name == controllerName);
            controller?.Channels.SetHistogram(settings);
            return controller is not null;
        }
    }

    /// <summary>Limits what a bdev does in a second. Requests that are held back go on under the new limits.</summary>
    /// <param name="bdevName">The bdev, whether it is there or not.</param>
    /// <param name="limits">The limits.</param>
    public void SetQos(string bdevName, QosLimits limits)
    {
        ArgumentNullException.ThrowIfNull(limits);
        GetParts().Bdevs.GetPort(bdevName).SetQos(limits);
    }

    /// <summary>Refuses writes to a bdev, or does not any more. Its users are told.</summary>
    /// <param name="bdevName">The bdev, whether it is there or not.</param>
    /// <param name="isProtected">Whether.</param>
    public void SetWriteProtection(string bdevName, bool isProtected) => GetParts().Bdevs.GetPort(bdevName).SetWriteProtection(isProtected);

    /// <summary>The reactors.</summary>
    internal IReadOnlyList<Reactors.Reactor> Reactors => _reactors;

    /// <summary>The last comings and goings of bdevs.</summary>
    internal BdevNotifications Notifications => GetParts().Bdevs.Notifications;

    /// <summary>The port of a bdev that is there, or null.</summary>
    internal BdevPort? FindPort(string bdevName) => _parts?.Bdevs.GetPorts().FirstOrDefault(port => port.Name == bdevName && port.Info is not null);

    /// <summary>Waits for a bdev to be there.</summary>
    /// <param name="bdevName">The bdev.</param>
    /// <param name="limit">How long.</param>
    internal async Task WaitForBdevAsync(string bdevName, TimeSpan limit)
    {
        var port = GetParts().Bdevs.GetPort(bdevName);
        var appeared = new Appearance();
        using var subscription = port.Subscribe(appeared);
        if (port.Info is null)
        {
            await Task.WhenAny(appeared.Seen.Task, Task.Delay(limit)).ConfigureAwait(false);
        }
    }

    private sealed class Appearance : IBdevObserver
    {
        internal TaskCompletionSource Seen { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public void OnBdevChanged(IBdevPort port, BdevChange change) => Seen.TrySetResult();
    }

    private static BdevStatus GetStatus(BdevPort port, BdevRegistry bdevs) => new(port.Name, port.State, bdevs.FindSourceOf(port.Name), port.Info, port.GetStatistics())
    {
        Details = GetDetails(port),
        Qos = port.Qos,
        Latencies = port.Channels.GetHistogram(),
    };

    private static IReadOnlyDictionary<string, string> GetDetails(BdevPort port)
    {
        try
        {
            return (port.Attachment?.Bdev as IDetailSource)?.GetDetails() ?? new Dictionary<string, string>();
        }
        catch (Exception exception)
        {
            return new Dictionary<string, string> { ["details_unavailable"] = exception.Message };
        }
    }
}
