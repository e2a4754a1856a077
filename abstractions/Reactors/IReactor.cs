namespace Vhost.Abstractions;

/// <summary>
/// One dedicated thread, pinned to one CPU, that owns queues and channels. What belongs to a reactor is touched on its thread only,
/// so nothing on the data path takes a lock; other threads send it messages.
/// </summary>
public interface IReactor
{
    /// <summary>Index of the reactor in the host, from 0.</summary>
    int Id { get; }

    /// <summary>The CPU that the thread is pinned to.</summary>
    int CpuIndex { get; }

    /// <summary>Whether the caller runs on this reactor's thread.</summary>
    bool IsCurrent { get; }

    /// <summary>
    /// A <see cref="System.Diagnostics.Stopwatch"/> timestamp, taken once per turn of the loop. Reactor thread only; cheap enough to read per request.
    /// </summary>
    long Timestamp { get; }

    /// <summary>Runs an action on the reactor's thread, after what was posted before. Any thread; does not wait; allocates, so control path only.</summary>
    /// <param name="action">What to run. It must not block. An exception is logged and does not end the reactor.</param>
    /// <param name="state">Passed to the action.</param>
    void Post(Action<object?> action, object? state);

    /// <summary>Adds a poller. Reactor thread only.</summary>
    /// <param name="name">Names the poller in logs and when the watchdog finds it stuck: <c>vhost.0 queue 2</c>.</param>
    /// <param name="poller">What to poll.</param>
    /// <param name="wakeFileDescriptor">
    /// A descriptor that becomes readable when an armed poller has work (an eventfd: the reactor drains it by one 8-byte read), or -1
    /// where there is no such notification: then an idle poller is polled with a back-off of at most 1 ms. It stays open until the registration is disposed.
    /// </param>
    /// <returns>Ends the polling when disposed, on the reactor's thread.</returns>
    IPollerRegistration AddPoller(string name, IPoller poller, int wakeFileDescriptor);

    /// <summary>Calls back periodically on the reactor's thread, to a precision of some milliseconds. Reactor thread only.</summary>
    /// <param name="period">At least 1 ms.</param>
    /// <param name="callback">Must not block.</param>
    /// <param name="state">Passed to the callback.</param>
    /// <returns>Stops the timer when disposed, on the reactor's thread.</returns>
    IDisposable AddTimer(TimeSpan period, Action<object?> callback, object? state);
}
