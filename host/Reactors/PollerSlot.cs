using Vhost.Abstractions;

namespace Vhost.Host.Reactors;

/// <summary>Where a poller stands.</summary>
internal enum PollerState
{
    /// <summary>Polled each turn.</summary>
    Active,

    /// <summary>Not polled; its descriptor wakes it.</summary>
    Armed,

    /// <summary>Has no descriptor; polled now and then.</summary>
    BackOff,

    /// <summary>It threw and is not polled any more.</summary>
    Quarantined,

    /// <summary>Its registration was disposed.</summary>
    Removed,
}

/// <summary>A poller's place in its reactor. Reactor thread only.</summary>
internal sealed class PollerSlot(Reactor owner, ulong token, string name, IPoller poller, int wakeFileDescriptor) : IPollerRegistration
{
    internal readonly ulong Token = token;
    internal readonly string Name = name;
    internal readonly IPoller Poller = poller;

    /// <summary>The descriptor to drain, or -1.</summary>
    internal readonly int WakeFileDescriptor = wakeFileDescriptor;

    /// <summary>A duplicate that stands in for the descriptor in epoll when another poller registered the same one before.</summary>
    internal Linux.FileDescriptor? Duplicate;

    internal PollerState State = PollerState.Active;

    /// <summary>Index in the list of the state that it is in.</summary>
    internal int ListIndex;

    /// <summary>Stopwatch timestamp of the last turn in which there was work.</summary>
    internal long LastWork;

    /// <summary>In back-off: when it is polled next, and the interval.</summary>
    internal long NextDue;
    internal long BackOffTicks;

    /// <summary>False once the kernel refused to drain the descriptor without blocking.</summary>
    internal bool CanDrain = true;

    /// <inheritdoc/>
    public void Activate() => owner.Activate(this);

    /// <inheritdoc/>
    public void Dispose() => owner.Remove(this);
}
