using Microsoft.Extensions.Logging;

namespace Vhost.Plugins.VvuTransport;

/// <summary>What this assembly logs, 2100 to 2199. An id keeps its meaning for ever: one that is not used any more is not given to another event.</summary>
internal static class VvuTransportEvents
{
    internal static readonly EventId MemorySlow = new(2100, nameof(MemorySlow));
    internal static readonly EventId DisksLost = new(2101, nameof(DisksLost));
    internal static readonly EventId PeerDisconnected = new(2102, nameof(PeerDisconnected));
    internal static readonly EventId PeerConnected = new(2103, nameof(PeerConnected));
    internal static readonly EventId VvuSessionEnded = new(2104, nameof(VvuSessionEnded));
    internal static readonly EventId VvuSessionFailed = new(2105, nameof(VvuSessionFailed));
    internal static readonly EventId SessionAwaited = new(2106, nameof(SessionAwaited));
    internal static readonly EventId VvuDeviceLeftBehind = new(2107, nameof(VvuDeviceLeftBehind));
    internal static readonly EventId VvuTransportFailed = new(2108, nameof(VvuTransportFailed));
    internal static readonly EventId VvuDeviceAttached = new(2109, nameof(VvuDeviceAttached));
    internal static readonly EventId VvuDeviceReset = new(2110, nameof(VvuDeviceReset));
    internal static readonly EventId VvuAttachRetried = new(2111, nameof(VvuAttachRetried));
    internal static readonly EventId VvuAttachGivenUp = new(2112, nameof(VvuAttachGivenUp));
}
