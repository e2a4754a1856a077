using Microsoft.Extensions.Logging;

namespace Vhost.Host.Observability;

/// <summary>
/// The events that vhostd itself logs. An id keeps its meaning for ever: one that is not used any more is not given to another event.
/// 1 to 99 process, 100 to 199 reactors, 200 to 299 bdevs and memory, 300 to 399 the graph, 400 to 499 RPC, 500 to 599 observability and dashboard.
/// </summary>
internal static class HostEvents
{
    internal static readonly EventId MetricsNotSent = new(500, nameof(MetricsNotSent));
    internal static readonly EventId WatchdogWithheld = new(501, nameof(WatchdogWithheld));
    internal static readonly EventId SystemdNotReached = new(502, nameof(SystemdNotReached));
    internal static readonly EventId EndpointServed = new(503, nameof(EndpointServed));
    internal static readonly EventId EndpointFault = new(504, nameof(EndpointFault));
    internal static readonly EventId FlightRecord = new(505, nameof(FlightRecord));
    internal static readonly EventId DashboardAction = new(506, nameof(DashboardAction));
    internal static readonly EventId TokenRefused = new(507, nameof(TokenRefused));
}
