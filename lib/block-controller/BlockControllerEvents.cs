using Microsoft.Extensions.Logging;

namespace Vhost.BlockController;

/// <summary>What this assembly logs, 1600 to 1699. An id keeps its meaning for ever: one that is not used any more is not given to another event.</summary>
internal static class BlockControllerEvents
{
    internal static readonly EventId InterruptsSwitchedOff = new(1600, nameof(InterruptsSwitchedOff));
    internal static readonly EventId ControllerReset = new(1601, nameof(ControllerReset));
    internal static readonly EventId ControllerBack = new(1602, nameof(ControllerBack));
    internal static readonly EventId ControllerUnusable = new(1603, nameof(ControllerUnusable));
    internal static readonly EventId ControllerResetFailed = new(1604, nameof(ControllerResetFailed));
    internal static readonly EventId FunctionReset = new(1605, nameof(FunctionReset));
    internal static readonly EventId BusMasteringTaken = new(1606, nameof(BusMasteringTaken));
    internal static readonly EventId DriverFailed = new(1607, nameof(DriverFailed));
    internal static readonly EventId ControllerNotDetached = new(1608, nameof(ControllerNotDetached));
    internal static readonly EventId AttachRetried = new(1609, nameof(AttachRetried));
    internal static readonly EventId AttachGivenUp = new(1610, nameof(AttachGivenUp));
    internal static readonly EventId AttachRefused = new(1611, nameof(AttachRefused));
    internal static readonly EventId ControllerAttached = new(1612, nameof(ControllerAttached));
    internal static readonly EventId WithdrawalFailed = new(1613, nameof(WithdrawalFailed));
}
