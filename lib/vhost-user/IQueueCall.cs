using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.VhostUser;

/// <summary>
/// A queue's way to interrupt the driver. What is behind it changes while a reactor notifies: each notification reaches the former target or the new
/// one, never a closed or foreign descriptor. Disposed after the queue has stopped.
/// </summary>
public interface IQueueCall : ICallNotifier, IDisposable
{
    /// <summary>Changes the target.</summary>
    /// <param name="descriptor">What to signal, or null. The notifier's from now on, also when it throws.</param>
    /// <param name="isPolled">The driver wants no interrupts. Where a link carries no descriptors this alone tells whether there is a target.</param>
    /// <exception cref="VhostUserException">The descriptor is of the wrong kind.</exception>
    void SetTarget(FileDescriptor? descriptor, bool isPolled);
}
