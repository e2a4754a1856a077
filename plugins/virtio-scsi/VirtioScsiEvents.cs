using Microsoft.Extensions.Logging;

namespace Vhost.Plugins.VirtioScsi;

/// <summary>What this assembly logs, 3600 to 3699. An id keeps its meaning for ever: one that is not used any more is not given to another event.</summary>
internal static class VirtioScsiEvents
{
    internal static readonly EventId DiskRefused = new(3600, nameof(DiskRefused));
    internal static readonly EventId HbaCommandAborted = new(3601, nameof(HbaCommandAborted));
    internal static readonly EventId HbaEventsMissed = new(3602, nameof(HbaEventsMissed));
    internal static readonly EventId HbaEvent = new(3603, nameof(HbaEvent));
    internal static readonly EventId HbaCommandFailed = new(3604, nameof(HbaCommandFailed));
}
