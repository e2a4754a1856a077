using Microsoft.Extensions.Logging;

namespace Vhost.Host.Observability;

/// <summary>
/// The events that vhostd itself logs. An id keeps its meaning for ever: one that is not used any more is not given to another event.
/// 1 to 99 process, 100 to 199 reactors, 200 to 299 bdevs and memory, 300 to 399 the graph, 400 to 499 RPC, 500 to 599 observability and dashboard.
/// </summary>
internal static class HostEvents
{
    internal static readonly EventId StartUndone = new(10, nameof(StartUndone));
    internal static readonly EventId Serving = new(11, nameof(Serving));
    internal static readonly EventId PartLeftBehind = new(12, nameof(PartLeftBehind));
    internal static readonly EventId StopCutShort = new(13, nameof(StopCutShort));
    internal static readonly EventId HostStopped = new(14, nameof(HostStopped));
    internal static readonly EventId SystemCallsNotFiltered = new(15, nameof(SystemCallsNotFiltered));
    internal static readonly EventId MemoryFaultsNotHandled = new(16, nameof(MemoryFaultsNotHandled));
    internal static readonly EventId GivenUpByWatchdog = new(17, nameof(GivenUpByWatchdog));
    internal static readonly EventId ReactorLeftBehind = new(101, nameof(ReactorLeftBehind));
    internal static readonly EventId WarmUpCutShort = new(102, nameof(WarmUpCutShort));
    internal static readonly EventId ReactorTurnsAgain = new(103, nameof(ReactorTurnsAgain));
    internal static readonly EventId ReactorStuck = new(104, nameof(ReactorStuck));
    internal static readonly EventId ReactorFailed = new(105, nameof(ReactorFailed));
    internal static readonly EventId MessageFailed = new(106, nameof(MessageFailed));
    internal static readonly EventId DeferredWorkFailed = new(107, nameof(DeferredWorkFailed));
    internal static readonly EventId TimerFailed = new(108, nameof(TimerFailed));
    internal static readonly EventId RemovedPollerFailed = new(109, nameof(RemovedPollerFailed));
    internal static readonly EventId PollerRemovalFailed = new(110, nameof(PollerRemovalFailed));
    internal static readonly EventId PollerFailedTwice = new(111, nameof(PollerFailedTwice));
    internal static readonly EventId PollerDescriptorClosed = new(112, nameof(PollerDescriptorClosed));
    internal static readonly EventId PollerQuarantined = new(113, nameof(PollerQuarantined));
    internal static readonly EventId BdevPublished = new(200, nameof(BdevPublished));
    internal static readonly EventId BdevWithdrawn = new(201, nameof(BdevWithdrawn));
    internal static readonly EventId BdevHangs = new(202, nameof(BdevHangs));
    internal static readonly EventId BdevUserFailed = new(203, nameof(BdevUserFailed));
    internal static readonly EventId BdevObserverFailed = new(204, nameof(BdevObserverFailed));
    internal static readonly EventId ChannelClosedBusy = new(205, nameof(ChannelClosedBusy));
    internal static readonly EventId ChannelCloseFailed = new(206, nameof(ChannelCloseFailed));
    internal static readonly EventId StrayCompletion = new(207, nameof(StrayCompletion));
    internal static readonly EventId SimpleBdevFailed = new(208, nameof(SimpleBdevFailed));
    internal static readonly EventId BdevQuarantined = new(209, nameof(BdevQuarantined));
    internal static readonly EventId MemoryNotMapped = new(210, nameof(MemoryNotMapped));
    internal static readonly EventId MemoryObserverFailed = new(211, nameof(MemoryObserverFailed));
    internal static readonly EventId LateWrites = new(212, nameof(LateWrites));
    internal static readonly EventId LateWritesEnded = new(213, nameof(LateWritesEnded));
    internal static readonly EventId CallLeftBehind = new(300, nameof(CallLeftBehind));
    internal static readonly EventId CallFailed = new(301, nameof(CallFailed));
    internal static readonly EventId SessionNotRead = new(302, nameof(SessionNotRead));
    internal static readonly EventId ManifestStep = new(303, nameof(ManifestStep));
    internal static readonly EventId ManifestNeedsRestart = new(304, nameof(ManifestNeedsRestart));
    internal static readonly EventId ManifestApplied = new(305, nameof(ManifestApplied));
    internal static readonly EventId ManifestNotApplied = new(306, nameof(ManifestNotApplied));
    internal static readonly EventId RpcMethodFailed = new(400, nameof(RpcMethodFailed));
    internal static readonly EventId RpcServed = new(401, nameof(RpcServed));
    internal static readonly EventId RpcClientNotAccepted = new(402, nameof(RpcClientNotAccepted));
    internal static readonly EventId RpcClientRefused = new(403, nameof(RpcClientRefused));
    internal static readonly EventId RpcClientLost = new(404, nameof(RpcClientLost));
    internal static readonly EventId MetricsNotSent = new(500, nameof(MetricsNotSent));
    internal static readonly EventId WatchdogWithheld = new(501, nameof(WatchdogWithheld));
    internal static readonly EventId SystemdNotReached = new(502, nameof(SystemdNotReached));
    internal static readonly EventId EndpointServed = new(503, nameof(EndpointServed));
    internal static readonly EventId EndpointFault = new(504, nameof(EndpointFault));
    internal static readonly EventId FlightRecord = new(505, nameof(FlightRecord));
    internal static readonly EventId DashboardAction = new(506, nameof(DashboardAction));
    internal static readonly EventId TokenRefused = new(507, nameof(TokenRefused));
}
