using Vhost.Host.Bdevs;
using Vhost.Host.Observability;

namespace Vhost.Host.Wiring;

/// <summary>What happened to a controller lately.</summary>
/// <param name="Controller">The controller.</param>
/// <param name="TracesRequests">Whether all requests are recorded, and not only those that fail.</param>
/// <param name="Events">What its transport and device had to say, protocol messages included, oldest first.</param>
/// <param name="Requests">Requests, oldest first.</param>
public sealed record ControllerTrace(string Controller, bool TracesRequests, IReadOnlyList<RecordedEvent> Events, IReadOnlyList<TracedRequest> Requests);

/// <content>What is recorded of controllers.</content>
public sealed partial class VhostHost
{
    /// <summary>What happened to a controller lately, or null if there is none of that name. Any thread.</summary>
    /// <param name="controllerName">The controller.</param>
    public ControllerTrace? GetTrace(string controllerName) =>
        FindController(controllerName) is { } controller
            ? new ControllerTrace(controllerName, controller.Channels.TracesRequests, controller.Recorder.GetEvents(), controller.Channels.GetRequests())
            : null;

    /// <summary>Begins to record all requests of a controller, or only those that fail. Each channel follows with its next batch.</summary>
    /// <param name="controllerName">The controller.</param>
    /// <param name="all">Whether all.</param>
    /// <returns>False if there is no such controller.</returns>
    public bool TraceRequests(string controllerName, bool all)
    {
        if (FindController(controllerName) is not { } controller)
        {
            return false;
        }

        controller.Channels.TracesRequests = all;
        return true;
    }

    private RunningController? FindController(string name)
    {
        lock (_listLock)
        {
            return _controllers.Find(controller => controller.Bound.Name == name);
        }
    }
}
