using Vhost.Abstractions;

namespace Vhost.Host.Reactors;

/// <content>What runs on the reactor, for people.</content>
internal sealed partial class Reactor
{
    /// <summary>The kernel's id of the thread; 0 before the start.</summary>
    internal int ThreadId => Volatile.Read(ref _threadId);

    /// <summary>Whether it sleeps as soon as there is nothing to do.</summary>
    internal bool IsInterruptDriven => _mode == Manifest.ReactorMode.Interrupt;

    /// <summary>Its pollers by name, and its timers. Asked of the reactor's thread, so it takes a turn, and an exception if the reactor is stuck.</summary>
    /// <param name="limit">How long to wait.</param>
    internal Task<(IReadOnlyList<(string Name, PollerState State)> Pollers, IReadOnlyList<string> Timers)> GetWorkAsync(TimeSpan limit) =>
        this.InvokeAsync<(IReadOnlyList<(string, PollerState)>, IReadOnlyList<string>)>(
            () => ([.. _slots.Values.Select(slot => (slot.Name, slot.State))], [.. _timers.Where(timer => !timer.IsStopped).Select(timer => timer.Name)])).WaitAsync(limit);
}
