using Microsoft.Extensions.Logging;

namespace Vhost.Abstractions;

/// <summary>What this assembly logs, 600 to 699. An id keeps its meaning for ever: one that is not used any more is not given to another event.</summary>
internal static class AbstractionEvents
{
    internal static readonly EventId BelowAbsent = new(600, nameof(BelowAbsent));
    internal static readonly EventId BelowNotFollowed = new(601, nameof(BelowNotFollowed));
}
