namespace Vhost.Abstractions;

/// <summary>
/// Something that a reactor polls: a virtqueue, a completion queue. All methods are called on the reactor's thread. The life of a
/// poller alternates between <i>active</i> (polled each turn, notifications off) and <i>armed</i> (not polled, notifications on).
/// It begins active.
/// </summary>
public interface IPoller
{
    /// <summary>Does a bounded amount of work and does not block.</summary>
    /// <returns>How many items were handled; 0 when there was nothing to do.</returns>
    int Poll();

    /// <summary>
    /// Enables notifications, then looks once more for work (with a full fence between the two, so that no wake-up is lost).
    /// </summary>
    /// <returns>False if there is work: the poller disarms itself and stays active. True if it may sleep until its descriptor becomes readable.</returns>
    bool TryArm();

    /// <summary>Disables notifications again because the poller has become active.</summary>
    void Disarm();

    /// <summary>
    /// One of the poller's methods threw: the reactor has logged it and does not poll any more. Called once, so that the owner can
    /// tell its front-end. The registration still has to be disposed.
    /// </summary>
    /// <param name="exception">What was thrown.</param>
    void OnFaulted(Exception exception)
    {
    }
}
