using Microsoft.Extensions.Logging;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>What this assembly logs, 2000 to 2099. An id keeps its meaning for ever: one that is not used any more is not given to another event.</summary>
internal static class VhostUserTransportEvents
{
    internal static readonly EventId FrontEndNotAccepted = new(2000, nameof(FrontEndNotAccepted));
    internal static readonly EventId FrontEndTurnedAway = new(2001, nameof(FrontEndTurnedAway));
    internal static readonly EventId FrontEndConnected = new(2002, nameof(FrontEndConnected));
    internal static readonly EventId SessionNotOpened = new(2003, nameof(SessionNotOpened));
    internal static readonly EventId SessionMemoryLost = new(2004, nameof(SessionMemoryLost));
    internal static readonly EventId FrontEndDisconnected = new(2005, nameof(FrontEndDisconnected));
    internal static readonly EventId SessionEnded = new(2006, nameof(SessionEnded));
    internal static readonly EventId ConnectionBroke = new(2007, nameof(ConnectionBroke));
    internal static readonly EventId SessionFailed = new(2008, nameof(SessionFailed));
    internal static readonly EventId Listening = new(2009, nameof(Listening));
    internal static readonly EventId SessionLeftBehind = new(2010, nameof(SessionLeftBehind));
    internal static readonly EventId TransportFailed = new(2011, nameof(TransportFailed));
}
