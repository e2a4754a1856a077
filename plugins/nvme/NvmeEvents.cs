using Microsoft.Extensions.Logging;

namespace Vhost.Plugins.Nvme;

/// <summary>What this assembly logs, 3500 to 3599. An id keeps its meaning for ever: one that is not used any more is not given to another event.</summary>
internal static class NvmeEvents
{
    internal static readonly EventId NamespaceRefused = new(3500, nameof(NamespaceRefused));
    internal static readonly EventId EventsNotConfigured = new(3501, nameof(EventsNotConfigured));
    internal static readonly EventId NamespacesChanged = new(3502, nameof(NamespacesChanged));
    internal static readonly EventId AsyncEvent = new(3503, nameof(AsyncEvent));
    internal static readonly EventId CriticalWarning = new(3504, nameof(CriticalWarning));
    internal static readonly EventId CommandAborted = new(3505, nameof(CommandAborted));
    internal static readonly EventId CommandFailed = new(3506, nameof(CommandFailed));
    internal static readonly EventId ShutdownNotConfirmed = new(3507, nameof(ShutdownNotConfirmed));
}
