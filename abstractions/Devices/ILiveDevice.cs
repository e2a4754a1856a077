namespace Vhost.Abstractions;

/// <summary>
/// What a device may offer besides <see cref="IVirtioDevice"/>: changes while a guest uses it, and a look at its session. Called from control
/// threads, one call at a time, also while a transport calls the session.
/// </summary>
public interface ILiveDevice
{
    /// <summary>
    /// Lets interrupts of a queue wait for more completions while the queue has more requests in a second than a threshold: by
    /// <paramref name="delayBase"/> times what is above the threshold, divided by the threshold, and by 10 ms at most. Takes effect at once.
    /// </summary>
    /// <param name="delayBase">The delay at twice the threshold; zero for none.</param>
    /// <param name="iopsThreshold">Requests in a second, 1 or more.</param>
    void SetCoalescing(TimeSpan delayBase, int iopsThreshold);

    /// <summary>Lets the queues run on other reactors, from now on and in later sessions. Requests under way end where they are; none is lost.</summary>
    /// <param name="reactors">At least one.</param>
    /// <param name="cancellationToken">Ends the wait for requests under way. The queues that were not moved yet go on where they were.</param>
    /// <exception cref="TimeoutException">The wait was ended; later sessions and queues are on the other reactors all the same.</exception>
    ValueTask MoveAsync(IReadOnlyList<IReactor> reactors, CancellationToken cancellationToken);

    /// <summary>The session that is open, or null.</summary>
    SessionStatus? GetSession();
}
